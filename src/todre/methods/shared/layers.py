"""Where a method acts inside the LLM: fractions of its depth, or counts of layers run."""

from __future__ import annotations

import math

from todre.errors import InvalidValueError


def resolve_layers(layers: tuple[float, ...], n_layers: int) -> tuple[int, ...]:
    """Counts of layers run for a decoder of `n_layers`: fractions are rounded down, though not to 0; counts stay.

    Returns:
        Ascending, each count once.

    Raises:
        InvalidValueError: a count falls outside 1..n_layers.
    """
    return tuple(sorted({resolve_layer(layer, n_layers) for layer in layers}))


def resolve_layer(layer: float, n_layers: int) -> int:
    """Count of layers run for one fraction (rounded down, though not to 0) or count.

    Raises:
        InvalidValueError: a count falls outside 1..n_layers.
    """
    count = int(layer) if isinstance(layer, int) else max(1, math.floor(layer * n_layers + 1e-9))
    if not 1 <= count <= n_layers:
        raise InvalidValueError(
            f"layers={layer!r} is layer {count} of a decoder that has {n_layers}; "
            f"give counts from 1 to {n_layers}, or fractions of the depth."
        )
    return count


def resolve_stages(layers: tuple[float, ...], n_layers: int) -> tuple[tuple[int, int], ...]:
    """What `resolve_layers` gives, each with the number (from 0) of the last of `layers` that stands there."""
    last = {resolve_layer(layer, n_layers): stage for stage, layer in enumerate(layers)}
    return tuple(sorted(last.items()))


def stage_at(stages: tuple[tuple[int, int], ...], layer: int) -> int:
    """Number of the stage asked after `layer`: its own, or the next one where the decoder had to tell early."""
    return next((number for count, number in stages if count >= layer), stages[-1][1])
