"""Attention received, as methods get it: from layers that see whole pictures, and comparable between pictures."""

from __future__ import annotations

import pytest
import torch
from families.prompts import batch, prompt
from towers import built, pixels

import todre
from todre.hf.families import family_of
from todre.tensors.token_facts import Signal
from todre.tower.capture import SaliencyCapture


@torch.no_grad()
def signals(name, *requests, variants=(0, 1, 2)):
    """The values of each request, picture by picture."""
    specimen, model = built(name)
    capture = SaliencyCapture(model, family_of(model), requests)
    try:
        model.base_model.get_image_features(**pixels(specimen, model, variants))
        facts = capture.current()["image"]
    finally:
        capture.remove()
    return [[fact.signals[request] for fact in facts] for request in requests]


@pytest.mark.parametrize("layer", [-3, -2, 0, 1, 0.4])
def test_a_layer_of_windows_hands_over_to_one_that_sees_the_whole_picture(layer):
    found, last = signals("qwen2_5_vl", Signal("received", layer), Signal("received", -1))
    assert all(torch.equal(one, other) for one, other in zip(found, last, strict=True))
    other = signals("qwen2_vl", Signal("received", 0), Signal("received", -1))
    assert not torch.equal(other[0][0], other[1][0])


def test_keys_come_from_the_layer_that_is_asked_for():
    first, last = signals("qwen2_5_vl", Signal("keys", 0), Signal("keys", -1))
    assert not torch.equal(first[0], last[0])


def test_no_edge_of_a_grid_that_windows_do_not_divide_is_favoured():
    ((values,),) = signals("qwen2_5_vl", Signal("received", -2), variants=(1,))
    grid = values.view(3, 5)
    inner = grid[:2, :4].mean()
    assert float(grid[:, 4].mean() / inner) == pytest.approx(1.0, abs=0.3)
    assert float(grid[2].mean() / inner) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_even_attention_is_one_in_pictures_of_any_size(name):
    shares, multiples = signals(name, Signal("received", -1), Signal("received", -1, even=True))
    sizes = [len(values) for values in shares]
    assert len(set(sizes)) > 1
    for share, multiple, size in zip(shares, multiples, sizes, strict=True):
        torch.testing.assert_close(multiple, share * size * 4, atol=1e-5, rtol=1e-5)  # 2 × 2 patches are one token
        assert float(multiple.mean()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("method", [todre.VFlowOpt(retain=0.25), todre.MMR(retain=0.25, weight=1.0)])
def test_a_small_picture_does_not_win_by_its_size(method):
    specimen, model = built("qwen2_vl")
    media = [specimen.media(model, "image", variant) for variant in (1, 2)]
    layer = method.signals()[0].layer
    (values,) = signals("qwen2_vl", Signal("received", layer, even=True), variants=(1, 2))
    inputs = batch(specimen, model, [prompt(4, media, 9, seed=2)])
    with todre.prune(model, method) as report, torch.no_grad():
        model(**inputs)
    pooled = torch.cat(values)
    count = max(1, round(0.25 * len(pooled)))
    best = pooled.argsort(descending=True, stable=True)[:count].sort().values
    assert report.kept[0] == best.tolist()
