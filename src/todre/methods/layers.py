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


def checked_layers(layers: object, otherwise: str = "") -> tuple[float, ...]:
    """The layers as a tuple; one number is a tuple of one.

    Args:
        layers: fractions in (0, 1] as floats, or counts of at least 1 as ints.
        otherwise: what to say to someone who gave none, as the end of a sentence.

    Raises:
        InvalidValueError: there is none, or one is neither.
    """
    given = (layers,) if isinstance(layers, int | float) else layers
    if not isinstance(given, tuple | list) or not given:
        raise InvalidValueError(f"layers must list at least one layer, not {layers!r}{otherwise}.")
    for layer in given:
        check_layer("layers", layer)
    return tuple(given)


def check_layer(field: str, layer: object) -> None:
    """Raise unless `layer` is a fraction in (0, 1] (a float) or a count of at least 1 (an int)."""
    fraction = isinstance(layer, float) and 0.0 < layer <= 1.0
    count = isinstance(layer, int) and not isinstance(layer, bool) and layer >= 1
    if not (fraction or count):
        raise InvalidValueError(
            f"{field} must hold fractions in (0, 1] or counts of at least 1, not {layer!r}; "
            "7/8 and 28 mean the same in a decoder of 32 layers."
        )
