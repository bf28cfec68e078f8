"""Numbers per decoder layer, as calibration leaves them: checks, and what they come to for a model."""

from __future__ import annotations

from itertools import pairwise

from todre.errors import InvalidValueError


def check_table(field: str, values: object, falling: bool) -> tuple[float, ...]:
    """One number per layer: shares in [0, 1] as floats or counts as ints, `falling` if none may exceed the one before.

    Raises:
        InvalidValueError: something else is given.
    """
    given = tuple(values) if isinstance(values, tuple | list) else None
    if given is None:
        raise InvalidValueError(f"{field} must list one number for each decoder layer, not {values!r}.")
    for value in given:
        share = isinstance(value, float) and 0.0 <= value <= 1.0
        count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not (share or count):
            raise InvalidValueError(f"{field} must hold shares in [0, 1] or counts from 0, not {value!r}.")
    if falling and any(after > before for before, after in pairwise(given)):
        raise InvalidValueError(f"{field} must not rise from layer to layer, but {given} does.")
    if falling and len({type(value) for value in given}) > 1:
        raise InvalidValueError(f"{field} must hold shares or counts, not both: {given}.")
    return given


def check_depth(name: str, field: str, values: tuple[float, ...], n_layers: int) -> None:
    """Raise unless there is a number for each of `n_layers` layers.

    Raises:
        InvalidValueError: there is none, or the numbers are for another depth.
    """
    if not values:
        raise InvalidValueError(
            f"{name} has not been fitted: {field} is empty; fit it with `todre fit {name}`, or give {field}."
        )
    if len(values) != n_layers:
        raise InvalidValueError(
            f"{field} of {name} holds numbers for {len(values)} layers, but this decoder has {n_layers}; "
            "fit it for this model."
        )


def tokens_of(value: float, entered: int) -> int:
    """A share of what entered (rounded), or a count; at most what entered."""
    return min(entered, value if isinstance(value, int) else round(value * entered))
