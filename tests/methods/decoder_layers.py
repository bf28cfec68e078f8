"""Random decoder layers for tests of methods inside the LLM, and their attention.

Attention is computed in float64, one row at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from methods.making import context_of

from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import DRAFT, PAD, SYSTEM, TEXT, VISUAL

LETTERS = {".": PAD, "s": SYSTEM, "v": VISUAL, "t": TEXT, "d": DRAFT}

# Rows of one length: padding left and right, several pictures, text between them, no picture, no text, drafts.
ROWS = (
    "ssvvvvvvvvttt",
    "....svvvvvvtt",
    "svvvvtvvvvt..",
    "..ssvvvtvvvvt",
    "sssssssssssss",
    "....sssvvvvvv",
    "svvvvvvvvttdd",
)


def kinds_of(*rows):
    """(b, s) int8 from a letter per slot."""
    return torch.tensor([[LETTERS[letter] for letter in row] for row in rows], dtype=torch.int8)


def made(rows=ROWS, queries=None, seed=0, scale=1.0, layer=3, n_layers=8, d=8, dtype=torch.float32, **given):
    """A context of random tensors: 6 query heads on 2 key heads.

    The last `queries` slots are in flight.
    """
    kinds = kinds_of(*rows)
    queries = kinds.shape[1] if queries is None else queries
    inputs = inputs_of(kinds, queries, seed, scale, dtype)
    generator = torch.Generator().manual_seed(seed + 1000)
    hidden = torch.randn(len(rows), queries, d, generator=generator).to(dtype)
    given.setdefault("entry", torch.randn(len(rows), queries, d, generator=generator).to(dtype))
    if "peek" not in given:
        following = inputs_of(kinds[:, -queries:], queries, seed + 1, scale, dtype)
        given["peek"] = lambda: following
    return context_of(inputs, kinds, layer, n_layers, hidden=hidden, **given)


def inputs_of(kinds, queries, seed=0, scale=1.0, dtype=torch.float32):
    """Random queries, keys and values; with scale 0 attention is uniform."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(len(kinds), 6, queries, 4, generator=generator) * scale
    key = torch.randn(len(kinds), 2, kinds.shape[1], 4, generator=generator) * scale
    value = torch.randn(len(kinds), 2, kinds.shape[1], 5, generator=generator)
    return AttentionInputs(query.to(dtype), key.to(dtype), 0.5, value=value.to(dtype))


def attention(inputs, kinds, row, place):
    """Attention of one query by its definition, (heads, s) float64.

    It is causal and leaves padding out.
    """
    heads, queries = inputs.query.shape[1], inputs.query.shape[2]
    slots = inputs.key.shape[2]
    result = np.zeros((heads, slots))
    visible = [slot for slot in range(slots - queries + place + 1) if kinds[row, slot] != PAD]
    for head in range(heads):
        key = inputs.key[row, head * inputs.key.shape[1] // heads, visible].double().numpy()
        logits = key @ inputs.query[row, head, place].double().numpy() * inputs.scaling
        weights = np.exp(logits - logits.max()) if visible else logits
        result[head, visible] = weights / weights.sum() if visible else 0
    return result


def fresh_of(context, row):
    """Slots of this forward's visual tokens."""
    slots = context.kinds.shape[1]
    start = slots - context.hidden.shape[1]
    return [slot for slot in range(start, slots) if context.kinds[row, slot] == VISUAL]


def text_of(context, row):
    """Columns in flight that hold text."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    return [place for place in range(context.hidden.shape[1]) if context.kinds[row, start + place] == TEXT]


def last_of(context, row):
    """The last text column, or the last real column without text."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    real = [p for p in range(context.hidden.shape[1]) if context.kinds[row, start + p] not in (PAD, DRAFT)]
    return (text_of(context, row) or real)[-1]


def ranked(slots, scores):
    """The slots by falling score; ties keep their order."""
    return sorted(slots, key=lambda slot: -scores[slot])


def top(slots, scores, count):
    """The `count` slots of highest score, in order."""
    return sorted(ranked(slots, scores)[: max(count, 0)])


def kept(context, reduction, row):
    """Fresh visual slots kept in one row; checks that nothing else was dropped."""
    fresh = fresh_of(context, row)
    others = [slot for slot in range(context.kinds.shape[1]) if slot not in fresh]
    assert reduction.keep.shape == context.kinds.shape
    assert reduction.keep.dtype == torch.bool
    assert bool(reduction.keep[row, others].all())
    return [slot for slot in fresh if reduction.keep[row, slot]]


def alone(context, row):
    """The context of one row by itself."""

    def part(inputs):
        query, key, value = (each[row : row + 1] for each in (inputs.query, inputs.key, inputs.value))
        return AttentionInputs(query, key, inputs.scaling, value=value)

    following = part(context.peek()) if context.peek is not None else None
    pick = slice(row, row + 1)
    return context_of(
        part(context.attention_inputs),
        context.kinds[pick],
        context.layer,
        context.n_layers,
        hidden=context.hidden[pick],
        entered=context.entered[pick],
        offered=context.offered[pick],
        signal_maps={request: values[pick] for request, values in context.signal_maps.items()},
        entry=None if context.entry is None else context.entry[pick],
        peek=lambda: following,
    )
