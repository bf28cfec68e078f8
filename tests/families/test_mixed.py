"""Pictures and clips together, budgets for each of them, and what layers with windows hold and refuse."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from families import checks
from families.oracle import hidden_columns, mask_oracle
from families.prompts import batch, prompt, ragged
from families.specimens import all_specimens
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.making import visual_tokens_of
from upstream import CACHE

import todre
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.runtime.selection import parts


def specimen(name):
    return next(one for one in all_specimens() if one.name == name)


@pytest.mark.parametrize("name", ["llava_onevision", "llava_next_video", "qwen2_5_vl", "qwen3_vl", "perception_lm"])
@pytest.mark.parametrize("method", ["both-stages", "stage-1"])
def test_a_picture_and_a_clip_in_one_prompt(name, method):
    one = specimen(name)
    model, eager = one.build("sdpa"), one.build("eager")
    inputs = batch(one, model, checks.several_kinds(one, model))
    with todre.prune(model, checks.METHODS[method]) as report:
        got = checks.generate(model, inputs)
    visual = checks.visual_columns(one, model, inputs["input_ids"])
    checks.check_report(report, visual, checks.METHODS[method])
    with mask_oracle(eager, hidden_columns(visual, report, report.n_layers)):
        checks.same(got, checks.generate(eager, inputs))


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "internvl-qwen2", "gemma3", "paligemma"])
def test_beams_equal_the_oracle(name):
    """Encoders answer with lists or stacked tensors, which `generate` repeats in different ways."""
    one = specimen(name)
    model, eager = one.build("sdpa"), one.build("eager")
    inputs = batch(one, model, ragged(one, model))
    options = {"num_beams": 3, "max_new_tokens": 5}
    with todre.prune(model, checks.METHODS["both-stages"]) as report:
        got = checks.generate(model, inputs, **options)
    visual = checks.visual_columns(one, model, inputs["input_ids"]).repeat_interleave(3, 0)
    with mask_oracle(eager, hidden_columns(visual, report, report.n_layers)):
        checks.same(got, checks.generate(eager, inputs, **options))


@pytest.mark.parametrize("per", ["image", "clip"])
def test_each_picture_has_a_budget_of_its_own(per):
    one = specimen("llava_next-llama")
    model = one.build("sdpa")
    media = [one.media(model, "image", variant) for variant in range(3)]
    counts = [int((medium.ids == model.config.image_token_id).sum()) for medium in media]
    assert len(set(counts)) > 1
    with todre.prune(model, todre.ToDRE(retain=4, stages=(1,), per=per)) as report, torch.no_grad():
        model(**batch(one, model, [prompt(3, media, 4)]))
    bounds = [0, counts[0], counts[0] + counts[1], sum(counts)]
    for start, end in pairwise(bounds):
        assert sum(start <= index < end for index in report.kept[0]) == 4


def test_each_frame_has_a_budget_of_its_own():
    one = specimen("qwen2_5_vl")
    model = one.build("sdpa")
    clip = one.media(model, "video", 1)
    frames, rows, columns = (int(side) for side in one.collate(model, [clip])["video_grid_thw"][0])
    each = rows * columns // 4
    with todre.prune(model, todre.RandomTokens(retain=2, per="frame")) as report, torch.no_grad():
        model(**batch(one, model, [prompt(3, [clip], 4)]))
    assert report.visual_tokens_before == [frames * each]
    assert [index // each for index in report.kept[0]] == [frame for frame in range(frames) for _ in range(2)]


def test_an_unknown_part_is_refused():
    with pytest.raises(InvalidValueError, match="per must be one of sample, image, clip, frame"):
        todre.ToDRE(per="tile")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=6), min_size=1, max_size=4),
    st.sampled_from(["sample", "image", "clip", "frame"]),
)
def test_parts_hold_every_token_once(pictures, per):
    frames = [sorted(frame, key=lambda value: (value < 0, value)) for frame in pictures]
    frame = torch.tensor([value for one in frames for value in one])
    picture = torch.tensor([index for index, one in enumerate(frames) for _ in one])
    n = len(frame)
    tokens = visual_tokens_of(n, 2, tile=frame.clamp(max=0), picture=picture, frame=frame)
    found = [torch.arange(n) if part is None else part for part in parts(tokens, per)]
    assert torch.cat(found).sort().values.tolist() == list(range(n))
    if per == "sample":
        assert len(found) == 1
    elif per != "frame":
        assert [len(part) for part in found] == [len(one) for one in frames]
    else:
        known = sum(max(len({value for value in one if value >= 0}), 1) for one in frames)
        assert len(found) == known


def test_layers_with_a_window_forget_what_is_out_of_sight():
    one = specimen("gemma3")
    model = one.build("sdpa")
    config = model.config.text_config
    inputs = batch(one, model, ragged(one, model))
    with todre.prune(model, checks.METHODS["stage-1"]) as report:
        out = checks.generate(model, inputs, max_new_tokens=12)
    full = [layer for layer, kind in zip(getattr(out, CACHE).layers, config.layer_types, strict=True) if "full" in kind]
    sliding = [layer for layer in getattr(out, CACHE).layers if layer not in full]
    assert sliding
    assert all(layer.keys.shape[-2] <= config.sliding_window - 1 for layer in sliding)
    assert all(layer.keys.shape[-2] > config.sliding_window for layer in full)
    assert report.kv_bytes[0] < report.kv_bytes_unpruned[0]


def test_a_window_that_has_moved_on_cannot_go_back():
    one = specimen("gemma3")
    model = one.build("sdpa")
    inputs = batch(one, model, ragged(one, model)[:1])
    with todre.prune(model, checks.METHODS["stage-1"]):
        out = checks.generate(model, inputs, max_new_tokens=12)
        with pytest.raises(UnsupportedInputError, match="has forgotten"):
            getattr(out, CACHE).crop(-3)


@pytest.mark.parametrize("name", ["gemma3", "qwen2_5_vl"])
def test_renumbered_positions_are_refused_where_they_would_mean_something_else(name):
    one = specimen(name)
    model = one.build("sdpa")
    inputs = batch(one, model, ragged(one, model))
    with (
        todre.prune(model, todre.ToDRE(retain=0.3, stages=(1,), positions="compact")),
        pytest.raises(UnsupportedInputError, match="positions='original'"),
    ):
        checks.generate(model, inputs)


def test_stage_2_is_measured_where_everything_is_seen():
    one = specimen("gemma3")
    model = one.build("sdpa")
    inputs = batch(one, model, ragged(one, model)[:1])
    with todre.prune(model, todre.ToDRE(stages=(2,), threshold=1.0, layers=(4,))) as report:
        checks.generate(model, inputs, max_new_tokens=1)
    assert model.config.text_config.layer_types[2] == "full_attention"
    assert report.dropped_after_layer == [3]
