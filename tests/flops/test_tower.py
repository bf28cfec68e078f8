"""The count of a tower that was shortened inside, against torch's own counter and against towers of one layer."""

from __future__ import annotations

import pytest
import torch
from families.prompts import batch, prompt
from torch.utils.flop_counter import FlopCounterMode
from towers import LeaveOut, Scripted, built

import todre
from todre.errors import InvalidValueError
from todre.flops import PRESETS, count, count_prompt
from todre.flops.shape import Stack, VisionTower
from todre.methods.crop_skip import CropSkip
from todre.methods.tome import ToMe
from todre.timing import stopwatch

CASES = [
    ("llava_next-mistral", Scripted()),
    ("llava_next-mistral", CropSkip(retain=1)),
    ("internvl-qwen2", Scripted(after=(1, 3))),
    ("qwen2_vl", LeaveOut()),
    ("qwen2_5_vl", LeaveOut(share=0.4)),
    ("qwen2_5_vl", LeaveOut(share=1.0)),
]


def one_prompt(specimen, model, variants=(0, 1)):
    return batch(specimen, model, [prompt(5, [specimen.media(model, "image", each) for each in variants], 6, seed=4)])


@pytest.mark.parametrize(("name", "method"), CASES, ids=lambda case: getattr(case, "name", case))
def test_to_the_last_flop(name, method):
    specimen, model = built(name, "eager")
    inputs = one_prompt(specimen, model)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), stopwatch(model) as watch, todre.prune(model, method) as report, counter:
        model(**inputs, logits_to_keep=1, use_cache=False)
    reported = {"text_tokens": report.text_tokens[0], "visual_tokens": report.visual_tokens_per_layer[0]}
    mine = count_prompt(model.config, inputs, tiles=watch.tiles, tower_tokens=report.tower_tokens, **reported)
    whole = count_prompt(model.config, inputs, tiles=watch.tiles, **reported)
    assert mine.total == counter.get_total_flops()
    assert mine.encoder < whole.encoder  # which also takes windows cut by an edge for whole ones


def test_layer_by_layer():
    specimen, model = built("internvl-qwen2", "eager")
    inputs = one_prompt(specimen, model)
    with torch.no_grad(), stopwatch(model) as watch, todre.prune(model, ToMe(retain=0.4)) as report:
        model(**inputs, logits_to_keep=1, use_cache=False)
    shape = todre.flops.from_config(model.config).vision
    patches, one = shape.patches, Stack(1, *list(vars(shape.stack).values())[1:])
    lengths = report.tower_tokens
    assert [tiles for layer in lengths for _, tiles in layer] == [watch.tiles] * shape.stack.layers
    left = [tokens - shape.extra_tokens for layer in lengths for tokens, _ in layer]
    assert left[0] == patches
    assert left == sorted(left, reverse=True)
    assert left[-1] < patches
    alone = VisionTower(one, 0, None, shape.extra_tokens)  # a tower of one layer that embeds nothing
    expected = watch.tiles * (2 * patches * shape.patch_values * shape.stack.width + sum(map(alone.flops, left)))
    mine = count(model.config, text_tokens=1, visual_tokens=1, tiles=watch.tiles, tower_tokens=report.tower_tokens)
    assert mine.encoder == expected


def test_a_whole_tower_told_layer_by_layer_is_the_whole_tower():
    shape = PRESETS["llava-next-7b"]
    sizes = {"text_tokens": 40, "visual_tokens": 100, "tiles": 5}
    assert count(shape, **sizes, tower_tokens=[[(577, 5)]] * 24) == count(shape, **sizes)


@pytest.mark.parametrize("tower_tokens", [[[(577, 5)]] * 23, [[(-1, 5)]] * 24, [[(577, 1.5)]] * 24])
def test_what_no_tower_ran_on_is_refused(tower_tokens):
    with pytest.raises(InvalidValueError, match="tower_tokens"):
        count("llava-next-7b", text_tokens=40, visual_tokens=100, tiles=5, tower_tokens=tower_tokens)


def test_the_report_forgets_what_the_last_prompt_ran_on():
    """Encoded by `generate` before prefill, within a forward, or not at all."""
    specimen, model = built("llava_next-mistral")
    one, both = one_prompt(specimen, model, (0,)), one_prompt(specimen, model)
    with torch.no_grad(), todre.prune(model, Scripted()) as report:
        model.generate(**both, max_new_tokens=2, do_sample=False)
        generated = report.tower_tokens
        model(**one)
        first = report.tower_tokens
        model(**both)
        assert report.tower_tokens == generated
        assert [layer[0][1] for layer in first] < [layer[0][1] for layer in generated]
    with torch.no_grad(), todre.prune(model, todre.ToDRE(retain=0.5)) as report:
        model(**both)
        assert report.tower_tokens == []
