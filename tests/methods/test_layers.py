"""Fractions of a decoder's depth, and counts of layers run."""

from __future__ import annotations

import pytest

from todre.errors import InvalidValueError
from todre.methods.layers import check_layer, checked_layers, resolve_layers


def test_fractions_are_rounded_down_and_counts_stay():
    assert resolve_layers((7 / 8,), 32) == (28,)
    assert resolve_layers((7 / 8,), 28) == (24,)
    assert resolve_layers((3 / 4, 1 / 4, 2), 8) == (2, 6)
    assert resolve_layers((1.0, 1), 8) == (1, 8)


@pytest.mark.parametrize("layer", [9, 0.1])
def test_layers_that_the_decoder_has_not(layer):
    with pytest.raises(InvalidValueError, match="of a decoder that has 8; give counts from 1 to 8"):
        resolve_layers((layer,), 8)


def test_what_counts_as_a_layer():
    assert checked_layers(2) == (2,)
    assert checked_layers([0.5, 3]) == (0.5, 3)
    with pytest.raises(InvalidValueError, match="at least one layer, not \\(\\); for none use nothing"):
        checked_layers((), "; for none use nothing")
    for layer in (0, 1.5, True, -1, 0.0, float("nan"), "2", None):
        with pytest.raises(InvalidValueError, match=r"layer must hold fractions in \(0, 1\] or counts"):
            check_layer("layer", layer)
