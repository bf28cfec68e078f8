"""Decoder layers where a method acts: fractions of the depth, or counts of layers."""

from __future__ import annotations

import math

from todre.errors import InvalidValueError


def resolve_layers(layers: tuple[float, ...], n_layers: int) -> tuple[int, ...]:
    """Counts of layers run, for a decoder of `n_layers`.

    Args:
        layers: fractions of the depth (float; rounded down, at least 1), or counts (int).
        n_layers: decoder layers.

    Returns:
        The counts, ascending, each once.

    Raises:
        InvalidValueError: a count falls outside 1..n_layers.
    """
    return tuple(sorted({resolve_layer(layer, n_layers) for layer in layers}))


def resolve_layer(layer: float, n_layers: int, name: str = "layers") -> int:
    """Count of layers run, for one fraction (rounded down, at least 1) or count.

    Messages call the value `name`.

    Raises:
        InvalidValueError: the count falls outside 1..n_layers.
    """
    count = int(layer) if isinstance(layer, int) else max(1, math.floor(layer * n_layers + 1e-9))
    if not 1 <= count <= n_layers:
        raise InvalidValueError(
            f"{name}={layer!r} is layer {count} of a decoder that has {n_layers}; "
            f"give counts from 1 to {n_layers}, or fractions of the depth."
        )
    return count


def resolve_stages(layers: tuple[float, ...], n_layers: int) -> tuple[tuple[int, int], ...]:
    """Counts of layers run, each with the 0-based number of its stage.

    Where several of `layers` resolve to one count, the last of them is its stage.

    Raises:
        InvalidValueError: a count falls outside 1..n_layers.
    """
    last = {resolve_layer(layer, n_layers): stage for stage, layer in enumerate(layers)}
    return tuple(sorted(last.items()))


def stage_at(stages: tuple[tuple[int, int], ...], layer: int) -> int:
    """The 0-based number of the stage that acts after `layer`.

    If the runtime had to act earlier than planned, it is the next stage after `layer`.
    """
    return next((number for count, number in stages if count >= layer), stages[-1][1])
