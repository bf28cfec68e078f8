"""IVC-Prune against its rule in float64, and against the values and angles of a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from families.prompts import batch, prompt
from families.specimens import model_of
from methods import decoder_layers, matrix
from pseudodevices import Devices, place, put

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.hf.layer_calls import layer_angles
from todre.methods.base import Method
from todre.methods.ivcprune import IVCPrune
from todre.methods.views import answers
from todre.methods.views.reduction import Reduction
from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import VISUAL

CASES = [(None, 1.0), (9, 1.0), (None, 4.0)]  # columns in flight, scale of the values
ROWS = (*decoder_layers.ROWS, "s" + "v" * 12, "vvvvvvvvvvvtt")


def made(queries=None, scale=1.0, seed=0, rows=ROWS, axes=(), dtype=torch.float32, **given):
    """A context with random values on three heads, and random angles of five channels."""
    context = decoder_layers.made(rows, queries=queries, seed=seed, **given)
    generator = torch.Generator().manual_seed(seed + 77)
    value = (torch.randn(len(rows), 3, len(rows[0]), 6, generator=generator) * scale).to(dtype)
    angle = torch.rand(*axes, len(rows), context.hidden.shape[1], 5, generator=generator) * 6
    inputs = dataclasses.replace(context.attention_inputs, value=value)
    return dataclasses.replace(
        context, attention_inputs=inputs, angles=lambda: (angle.cos().to(dtype), angle.sin().to(dtype))
    )


def weights(value, slots, asking):
    """How one slot weighs all visual tokens: softmax per head, mean over heads."""
    total = np.zeros(len(slots))
    for head in value:
        logits = np.array([head[asking] @ head[slot] for slot in slots]) / np.sqrt(value.shape[2])
        shares = np.exp(logits - logits.max())
        total += shares / shares.sum()
    return total / len(value)


def expected(context, row, count, seeds, coordinates):
    """The kept slots of one row, by the rule."""
    slots = decoder_layers.fresh_of(context, row)
    if not slots:
        return []
    start = context.kinds.shape[1] - context.hidden.shape[1]
    value = context.attention_inputs.value[row].double().numpy()
    asked = decoder_layers.text_of(context, row) or [decoder_layers.last_of(context, row)]
    lines = [weights(value, slots, start + place) for place in asked]
    by_text = dict(zip(slots, np.mean(lines, axis=0), strict=True))
    first = decoder_layers.ranked(slots, by_text)[:seeds]
    lines += [weights(value, slots, seed) for seed in first]
    final = dict(zip(slots, np.mean(lines, axis=0), strict=True))
    kept = set(first)
    for part in context.angles():
        flat = part.double().reshape(-1, *part.shape[-3:]).mean(dim=(0, -1))[row].numpy()
        kept |= set(decoder_layers.ranked(slots, {slot: flat[slot - start] for slot in slots})[:coordinates])
    rest = [slot for slot in decoder_layers.ranked(slots, final) if slot not in kept]
    return sorted([*kept, *rest[: count - len(kept)]])


def check(context, method, numbers):
    reduction = method.reduce(context)
    assert answers.check_reduction(method, reduction, context) is reduction
    for row in range(len(context.kinds)):
        slots = decoder_layers.fresh_of(context, row)
        count, seeds, coordinates = numbers(len(slots))
        want = expected(context, row, count, seeds, coordinates)
        assert decoder_layers.kept(context, reduction, row) == want
        assert len(want) == min(count, len(slots)) == reduction.left[row]
    return reduction


def halves(n):
    """Half of n tokens, with 20 % seeds, and 20 % coordinate tokens each within a quarter of the budget."""
    count = max(1, round(n / 2)) if n else 0
    coordinates = min(round(0.2 * n), count // 4)
    return count, min(max(1, round(0.2 * n)), count - 2 * coordinates), coordinates


@pytest.mark.parametrize(("queries", "scale"), CASES)
@pytest.mark.parametrize("axes", [(), (3,)])
def test_the_rule(queries, scale, axes):
    method = IVCPrune(retain=0.5, seeds=0.2, coordinates=0.2)
    for seed in range(3):
        check(made(queries, scale, seed, axes=axes), method, halves)


@pytest.mark.parametrize("retain", [1, 2, 4, 5, 7, 100])
def test_every_budget_is_met(retain):
    for seeds, coordinates in ((0.01, 0.1), (1.0, 1.0), (0.0, 0.0), (0.3, 0.2)):
        method = IVCPrune(retain=retain, seeds=seeds, coordinates=coordinates)
        check(made(seed=retain), method, lambda n, of=method: (min(n, retain), *of.parts(n, min(n, retain))))


def test_numbers_of_seeds_and_coordinate_tokens():
    assert IVCPrune().parts(576, 288) == (6, 58)  # as published: no limit tells
    assert IVCPrune(coordinates=0.05).parts(576, 179) == (6, 29)
    assert IVCPrune().parts(576, 64) == (6, 16)
    assert IVCPrune().parts(576, 1) == (1, 0)
    assert IVCPrune().parts(0, 0) == (0, 0)
    assert IVCPrune(seeds=0.0, coordinates=0.0).parts(10, 5) == (1, 0)


def test_values_in_half_precision_are_summed_in_float32():
    method = IVCPrune(retain=0.5, seeds=0.2, coordinates=0.2)
    for dtype in (torch.float16, torch.bfloat16):
        check(made(scale=2.0, dtype=dtype), method, halves)


def test_equal_tokens_go_to_the_first():
    context = made(scale=0.0)
    method = IVCPrune(retain=3, coordinates=0.0)
    reduction = method.reduce(context)
    for row in range(len(ROWS)):
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.fresh_of(context, row)[:3]


def test_a_row_of_a_batch_is_what_it_is_alone():
    context = made(queries=11, seed=3)
    reduction, values = IVCPrune().reduce(context), context.attention_inputs.value
    for row in range(len(ROWS)):
        if decoder_layers.fresh_of(context, row):
            single = decoder_layers.alone(context, row)
            inputs = dataclasses.replace(single.attention_inputs, value=values[row : row + 1])
            parts = tuple(part[row : row + 1] for part in context.angles())
            single = dataclasses.replace(single, attention_inputs=inputs, angles=lambda parts=parts: parts)
            assert IVCPrune().reduce(single).keep[0].tolist() == reduction.keep[row].tolist()


def test_angles_may_be_on_the_next_layers_device():
    context = made(seed=2)
    want, inputs = IVCPrune().reduce(context).keep, context.attention_inputs
    query, key, value = (put(part.clone(), "cuda:0") for part in (inputs.query, inputs.key, inputs.value))
    angles = tuple(put(part.clone(), "cuda:1") for part in context.angles())
    here = {name: put(getattr(context, name).clone(), "cuda:0") for name in ("kinds", "hidden", "entered", "offered")}
    split = dataclasses.replace(
        context, attention_inputs=AttentionInputs(query, key, 0.5, value=value), angles=lambda: angles, **here
    )
    with Devices():
        got = IVCPrune().reduce(split).keep
        assert place(got) == torch.device("cuda:0")
    assert torch.equal(got, want)


def test_tokens_that_left_before_are_no_seeds():
    context = made()
    kinds = context.kinds.clone()
    kinds[0, 3:10] = 0  # of eight visual tokens one is left
    context = dataclasses.replace(context, kinds=kinds)
    kept = IVCPrune(retain=6, seeds=1.0).reduce(context)
    assert decoder_layers.kept(context, kept, 0) == [2]


def test_what_is_not_known_is_refused_in_a_sentence():
    context = made()
    with pytest.raises(UnsupportedModelError, match=r"does not give its layers rotary angles .* use coordinates=0\.0"):
        IVCPrune().reduce(dataclasses.replace(context, angles=lambda: None))
    kept = IVCPrune(coordinates=0.0).reduce(dataclasses.replace(context, angles=lambda: None)).keep
    assert torch.equal(kept, IVCPrune(coordinates=0.0).reduce(context).keep)
    bare = dataclasses.replace(context.attention_inputs, value=None)
    with pytest.raises(UnsupportedInputError, match="values of this layer were not recorded"):
        IVCPrune().reduce(dataclasses.replace(context, attention_inputs=bare))
    with pytest.raises(InvalidValueError, match="seeds must be a share"):
        IVCPrune(seeds=2.0)
    assert IVCPrune().reduce_after(32) == (16,)


def test_angles_in_the_arguments_of_a_layer():
    one = torch.rand(2, 5, 4)
    turned = torch.polar(torch.ones_like(one), one)
    assert torch.equal(layer_angles({"position_embeddings": (one, -one)})[1], -one)
    assert torch.equal(layer_angles({"position_embeddings": turned})[1], turned.imag)
    for other in (None, one, (one,), (one, None), (one, one[:1]), {"full": (one, one)}, (one[0], one[0])):
        assert layer_angles({"position_embeddings": other}) is None
    assert layer_angles({}) is None


SEEN = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks(Method):
    """Drops every other visual token after layer 2, and looks at values and angles after layers 2 and 3."""

    name = "looks"

    def reduce_after(self, n_layers):
        return (2, 3)

    def reduce(self, context):
        SEEN.append((context.kinds, context.values, context.angles(), context.columns))
        number = context.visual.cumsum(dim=1)
        return Reduction(~context.visual | (number % 2 == 1) if context.layer == 2 else context.kinds == context.kinds)


@pytest.mark.parametrize("family", matrix.FAMILIES)
def test_values_and_angles_of_a_model_are_those_of_the_columns_in_flight(family):
    specimen, model = matrix.specimen_of(family), model_of(family, "sdpa")
    inputs = batch(specimen, model, [prompt(5, [specimen.media(model, "image", 1)], 6, seed=4)])
    SEEN.clear()
    with todre.prune(model, Looks()) as report:
        model(**inputs)
    (kinds, values, before, columns), (later, fewer, after, left) = SEEN
    visual = report.visual_tokens_before[0]
    assert int((kinds == VISUAL).sum()) == visual
    assert int((later == VISUAL).sum()) == (visual + 1) // 2
    assert values.shape[2] == kinds.shape[1]
    assert fewer.shape[2] == later.shape[1] < values.shape[2]
    assert columns[0].tolist() == list(range(kinds.shape[1]))
    for whole, part in zip(before, after, strict=True):
        assert torch.equal(
            whole.reshape(-1, *whole.shape[-3:])[:, 0, left[0]], part.reshape(-1, *part.shape[-3:])[:, 0]
        )
    assert bool((before[0].square() + before[1].square() - 1).abs().max() < 1e-5)
