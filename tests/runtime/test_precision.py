"""bfloat16, float16 and autocast: the same tokens are kept, and what the model says is right to its own precision."""

from __future__ import annotations

import loaded
import pytest
import tinymodels as tm
import torch
from methods.making import context_of

import todre
from todre.tensors.attention import AttentionInputs, attention_mass, cls_attention, received_attention
from todre.tensors.columns import TEXT, VISUAL

HALVES = [torch.bfloat16, torch.float16]
ULPS = 8
"""Differences of logits, in units of the largest logit's last place; 3 were the most that was seen."""


def narrowed(kind, backend, dtype):
    """(model, inputs) in `dtype`."""
    model = tm.build(kind, backend, layers=loaded.LAYERS)
    inputs = tm.ragged(model)
    pixels = inputs["pixel_values"].to(dtype)
    return model.to(dtype), inputs | {"pixel_values": pixels}


def assert_close(got, expected, inputs, dtype):
    columns = loaded.text(inputs)
    largest = expected.logits[columns].abs().max().item()
    difference = (got.logits[columns].float() - expected.logits[columns].float()).abs().max().item()
    assert difference <= ULPS * torch.finfo(dtype).eps * largest


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["next-llama", "llava"])
def test_half_precision(kind, backend, dtype):
    model, inputs = narrowed(kind, backend, dtype)
    untouched = loaded.run(model, inputs)
    every = loaded.pruned(model, inputs, todre.ToDRE(retain=1.0, threshold=0.0))
    assert torch.equal(every.logits, untouched.logits)
    assert torch.equal(every.tokens, untouched.tokens)
    got = loaded.pruned(model, inputs)
    assert got.logits.dtype == dtype
    assert_close(got, loaded.masked(model, model, inputs, got.report), inputs, dtype)
    single = loaded.pruned(tm.build(kind, backend, layers=loaded.LAYERS), tm.ragged(model))
    assert got.report.kept == single.report.kept
    assert got.report.dropped_after_layer == single.report.dropped_after_layer
    for mine, theirs in zip(got.report.attention_ratios, single.report.attention_ratios, strict=True):
        for layer, ratios in mine.items():
            assert ratios.text_to_visual == pytest.approx(theirs[layer].text_to_visual, abs=2e-3)


def seen(dtype, size, seed=0):
    """Queries and keys whose products lie around `size`, with logits of a few units."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(2, heads, 40, 16, generator=generator) for heads in (6, 2))
    factor = (size / 4) ** 0.5
    return AttentionInputs((query * factor).to(dtype), (key * factor).to(dtype), scaling=4 / size)


def exact_mass(seen, rows, group, allowed):
    """Float64, one whole attention map."""
    query, key = seen.query.double(), seen.key.double().repeat_interleave(3, dim=1)
    logits = query @ key.mT * seen.scaling
    visible = allowed[:, None, None] & torch.ones(40, 40, dtype=torch.bool).tril()
    weights = logits.masked_fill(~visible, float("-inf")).softmax(-1).nan_to_num(0.0).mean(1)
    return (weights * group[:, None]).sum(-1).masked_fill(~rows, 0.0)


@pytest.mark.parametrize("size", [8.0, 1e5])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_attention_mass_does_not_round_or_overflow(dtype, size):
    """Products beyond 65,504 overflow in float16, and bfloat16 has three digits: neither is used."""
    example = seen(dtype, size)
    kinds = torch.tensor([VISUAL] * 20 + [TEXT] * 20).expand(2, 40)
    rows, allowed = kinds == TEXT, torch.ones(2, 40, dtype=torch.bool)
    (mass,) = attention_mass(example, rows, [kinds == VISUAL], allowed)
    expected = exact_mass(example, rows, kinds == VISUAL, allowed)
    torch.testing.assert_close(mass.double(), expected, atol=1e-5, rtol=0)
    ratio = context_of(example, kinds, 1, 2).text_to_visual()
    torch.testing.assert_close(ratio.double(), expected[:, 20:].mean(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_saliency_does_not_round_or_overflow(dtype):
    example = seen(dtype, 1e5)
    example = AttentionInputs(example.query[:, :2], example.key, example.scaling)
    weights = (example.query.double() @ example.key.double().mT * example.scaling).softmax(-1).mean(1)
    torch.testing.assert_close(cls_attention(example).double(), weights[:, 0, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(received_attention(example).double(), weights.mean(1), atol=1e-5, rtol=0)


def test_autocast_does_not_reach_what_is_measured():
    """The model runs under autocast, the statistics that decide do not."""
    asked = []

    class Watching(todre.ToDRE):
        def reduce(self, context):
            answer = super().reduce(context)
            asked.append((context, answer.text_to_visual))
            return answer

    model = tm.build(layers=loaded.LAYERS)
    inputs = tm.ragged(model)
    with torch.autocast("cpu", torch.bfloat16):
        untouched = loaded.run(model, inputs)
        every = loaded.pruned(model, inputs, todre.ToDRE(retain=1.0, threshold=0.0))
        got = loaded.pruned(model, inputs, Watching(**fields(loaded.BOTH)))
        expected = loaded.masked(model, model, inputs, got.report)
    assert torch.equal(every.logits, untouched.logits)
    assert_close(got, expected, inputs, torch.bfloat16)
    assert asked
    for context, ratio in asked:
        torch.testing.assert_close(context.text_to_visual(), ratio, atol=0, rtol=0, equal_nan=True)


def fields(method):
    return {name: value for name, value in method.to_dict().items() if name != "method"}
