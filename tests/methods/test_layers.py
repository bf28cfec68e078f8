"""Fractions of a decoder's depth, and counts of layers run."""

from __future__ import annotations

import pytest

from todre.errors import InvalidValueError
from todre.fields import fitted
from todre.fields.kinds import Layer, Layers
from todre.methods.shared.layers import resolve_layers, resolve_stages, stage_at


def test_fractions_are_rounded_down_and_counts_stay():
    assert resolve_layers((7 / 8,), 32) == (28,)
    assert resolve_layers((7 / 8,), 28) == (24,)
    assert resolve_layers((3 / 4, 1 / 4, 2), 8) == (2, 6)
    assert resolve_layers((1.0, 1), 8) == (1, 8)
    assert resolve_layers((1 / 32, 0.1), 8) == (1,)


def test_stages_that_fall_together_are_the_last_of_them():
    assert resolve_stages((3 / 32, 7 / 32, 16 / 32), 32) == ((3, 0), (7, 1), (16, 2))
    assert resolve_stages((3 / 32, 7 / 32, 16 / 32), 8) == ((1, 1), (4, 2))
    assert [stage_at(((3, 0), (7, 1), (16, 2)), layer) for layer in (3, 6, 7, 16, 17)] == [0, 1, 1, 2, 2]


def test_layers_that_the_decoder_has_not():
    with pytest.raises(InvalidValueError, match="of a decoder that has 8; give counts from 1 to 8"):
        resolve_layers((0.5, 9), 8)


def test_what_counts_as_a_layer():
    assert fitted("layers", 2, Layers) == (2,)
    assert fitted("layers", [0.5, 3], Layers) == (0.5, 3)
    with pytest.raises(InvalidValueError, match=r"layers must be a list of at least one, .*, not \(\)"):
        fitted("layers", (), Layers)
    for layer in (0, 1.5, True, -1, 0.0, float("nan"), "2", None):
        with pytest.raises(InvalidValueError, match=r"layer must be a fraction of the depth in \(0, 1\] .* or a count"):
            fitted("layer", layer, Layer)
