"""torch.compile, before or after attaching, of a model or its parts: the answers of the uncompiled pruned model.

Graphs are captured and run as they are (backend "eager"): what is tested is that hooks stay in force.
"""

from __future__ import annotations

import pytest
import tinymodels as tm
import torch
from upstream import CACHE

import todre

BOTH = todre.ToDRE(retain=0.2, threshold=1.0, layers=(1,))
FIRST = todre.ToDRE(retain=0.2, stages=(1,))


class Counting:
    """A backend that counts graphs."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, example):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def whole(model, **options):
    model.compile(**options)
    return model


def decoder(model, **options):
    model.model.language_model = torch.compile(model.model.language_model, **options)
    return model


def layers(model, **options):
    for layer in model.get_decoder().layers:
        layer.compile(**options)
    return model


def wrapped_layers(model, **options):
    held = model.get_decoder().layers
    for index, layer in enumerate(held):
        held[index] = torch.compile(layer, **options)
    return model


def caller(model, **options):
    """A function of the user's own around the model."""
    return torch.compile(lambda **inputs: model(**inputs), **options)


WAYS = [whole, decoder, layers, wrapped_layers, caller]


@torch.no_grad()
def answers(called, inputs, follow):
    """Logits of a prompt and of a step after it."""
    first = called(**inputs, use_cache=True)
    return first.logits, called(input_ids=follow, **{CACHE: getattr(first, CACHE)}).logits


@pytest.fixture(scope="module")
def example():
    """(inputs, next token, untouched answers, pruned answers)."""
    model = tm.build("llava", layers=2)
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5)])
    follow = torch.tensor([[7]])
    untouched = answers(model, inputs, follow)
    with todre.prune(model, BOTH):
        return inputs, follow, untouched, answers(model, inputs, follow)


def assert_same(got, expected):
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_compiled_before_it_was_attached(example, way):
    """The graphs of the untouched model are there when hooks come, and serve again when they are gone."""
    inputs, follow, untouched, expected = example
    counting = Counting()
    model = tm.build("llava", layers=2)
    called = way(model, backend=counting)
    assert_same(answers(called, inputs, follow), untouched)
    assert counting.graphs
    with todre.prune(model, BOTH) as report:
        assert_same(answers(called, inputs, follow), expected)
    assert report.dropped_after_layer == [1]
    assert_same(answers(called, inputs, follow), untouched)
    with todre.prune(model, BOTH):
        assert_same(answers(called, inputs, follow), expected)
