"""Numbers per decoder layer, as calibration leaves them: checks, and what they come to for a model."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from todre.errors import InvalidValueError
from todre.fields import Range, Said, shown
from todre.fields.kinds import Natural

Table = tuple[
    Annotated[
        Natural | Annotated[float, Range(least=0, most=1)], Said("a share in [0, 1] such as 0.5, or a count from 0")
    ],
    ...,
]
"""One number for each decoder layer: a share if it is a float, a count if it is an int. Empty until it is fitted."""


def check_falling(method: Any, field: str, alike: bool = True) -> None:
    """Raise if a number is larger than the one before, or, where they are `alike`, shares are among counts."""
    values, name = getattr(method, field), f"{type(method).__name__}.{field}"
    if any(after > before for before, after in pairwise(values)):
        raise InvalidValueError(f"{name} must not rise from layer to layer, but {shown(values)} does.")
    if alike and len({type(value) for value in values}) > 1:
        raise InvalidValueError(f"{name} must hold shares or counts, not both: {shown(values)}.")


def check_stages(method: Any, field: str) -> None:
    """Raise unless there is a number for each of `layers`, and these are in order as far as that can be known."""
    values, layers, name = getattr(method, field), method.layers, type(method).__name__
    if len(values) != len(layers):
        raise InvalidValueError(
            f"{name}.{field} must hold one number for each of the {len(layers)} layers, not {shown(values)}."
        )
    if any(type(before) is type(after) and before > after for before, after in pairwise(layers)):
        raise InvalidValueError(
            f"{name}.layers must be in ascending order, as {field} goes with them, not {shown(layers)}."
        )


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
