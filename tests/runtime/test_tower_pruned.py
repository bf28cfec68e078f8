"""Pruning in the vision tower: what it lost does not reach the LLM, later budgets know, and decoding goes on."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from families.checks import generate, visual_columns
from families.oracle import mask_oracle
from families.prompts import batch, ragged
from torch.nn import functional
from towers import LeaveOut, Scripted, built

import todre
from todre.hf.families import family_of
from todre.methods import registry
from todre.methods.base import budget
from todre.methods.compose import Compose
from todre.methods.tome import ToMe
from todre.tower.hooks import TowerReduction

STEPS = 3
CASES = [
    ("llava_next-llama", Scripted()),
    ("llava_next-llama", ToMe(retain=0.4)),
    ("internvl-qwen2", Scripted()),
    ("internvl-qwen2", ToMe(retain=0.3)),
    ("qwen2_vl", LeaveOut()),
    ("qwen2_5_vl", LeaveOut()),
    ("qwen3_vl", LeaveOut()),
]


@contextmanager
def reduced(model, method):
    """The model with its tower reduced, and nothing else changed; gives all that `leave_out` and `alive` say."""
    reduction = TowerReduction(model, family_of(model), method)
    reported = []
    try:
        with reduction.encoding():
            yield reported
            reported += reduction.alive()
    finally:
        reduction.remove()


def standing(name, model, inputs, method, alive):
    """(visual tokens of the whole batch,) bool: those of which something is left, by each model's own layout."""
    if name.startswith("internvl"):
        side = int(alive[0].shape[1] ** 0.5)
        grids = torch.cat(alive).view(-1, 1, side, side)
        return functional.max_pool2d(grids, 2).flatten() > 0
    if name.startswith("llava_next"):
        tiles = list(torch.cat(alive)[..., None].split(tiles_of(model, inputs)))
        packed, _ = model.base_model.pack_image_features(
            tiles,
            inputs["image_sizes"],
            image_newline=torch.ones(1),
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        )
        return torch.cat(list(packed)).flatten() > 0
    grid = inputs["image_grid_thw"]
    units = int(grid.prod(dim=1).sum()) // 4
    kept = method.leave_out(Units(torch.zeros(units, 1), [(t, h // 2, w // 2) for t, h, w in grid.tolist()]))
    return kept == torch.arange(units)


class Units:
    """Enough of `Patches` for `LeaveOut`."""

    def __init__(self, pixels, grids):
        self.pixels, self.grids = pixels, grids


def tiles_of(model, inputs):
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    side = model.config.vision_config.image_size
    return [image_size_to_num_patches(size, model.config.image_grid_pinpoints, side) for size in inputs["image_sizes"]]


@pytest.mark.parametrize(("name", "method"), CASES, ids=lambda case: getattr(case, "name", case))
def test_equals_a_decoder_that_does_not_see_what_left(name, method):
    specimen, model = built(name, "eager")
    inputs = batch(specimen, model, ragged(specimen, model))
    visual = visual_columns(specimen, model, inputs["input_ids"])
    with reduced(model, method) as alive:
        generate(model, inputs, max_new_tokens=1)
    left = standing(name, model, inputs, method, alive)
    gone = visual.clone()
    gone[visual] = ~left
    assert 0 < int(left.sum()) < len(left)
    layers = model.config.get_text_config().num_hidden_layers
    with reduced(model, method), mask_oracle(model, gone[:, None].expand(-1, layers, -1)):
        expected = generate(model, inputs, max_new_tokens=STEPS)
    with todre.prune(model, method) as report:
        got = generate(model, inputs, max_new_tokens=STEPS)
    assert torch.equal(got.sequences, expected.sequences)
    for mine, theirs in zip(got.logits, expected.logits, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    entered = [counts[0] for counts in report.visual_tokens_per_layer]
    assert entered == (visual & ~gone).sum(dim=1).tolist()


@pytest.mark.parametrize(("name", "method"), CASES, ids=lambda case: getattr(case, "name", case))
def test_later_budgets_count_what_the_tower_left(name, method):
    specimen, model = built(name)
    inputs = batch(specimen, model, ragged(specimen, model))
    with todre.prune(model, method) as report:
        generate(model, inputs, max_new_tokens=1)
        entered = [counts[0] for counts in report.visual_tokens_per_layer]
    after = registry.create("random", retain=0.5)
    with todre.prune(model, Compose(method, after)) as report:
        generate(model, inputs, max_new_tokens=1)
        halved = [counts[0] for counts in report.visual_tokens_per_layer]
    assert halved == [budget(0.5, count) for count in entered]


def test_signals_and_tower_methods_go_together():
    specimen, model = built("llava_next-llama")
    inputs = batch(specimen, model, ragged(specimen, model))
    first = registry.create("cls-top-k", retain=0.5, layer=-1)
    both = Compose(ToMe(retain=0.5), first)
    with todre.prune(model, both) as report:
        output = generate(model, inputs, max_new_tokens=STEPS)
        assert all(bool(step.isfinite().all()) for step in output.logits)
        counts = [counts[0] for counts in report.visual_tokens_per_layer]
    with todre.prune(model, ToMe(retain=0.5)) as report:
        generate(model, inputs, max_new_tokens=1)
        entered = [counts[0] for counts in report.visual_tokens_per_layer]
    assert counts == [budget(0.5, count) for count in entered]
