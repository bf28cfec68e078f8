"""Fitted numbers per decoder layer: checks, and conversion to counts of tokens."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from todre.errors import InvalidValueError
from todre.fields import Range, Wording, short_repr
from todre.fields.kinds import Natural

Table = tuple[
    Annotated[
        Natural | Annotated[float, Range(least=0, most=1)], Wording("a share in [0, 1] such as 0.5, or a count from 0")
    ],
    ...,
]
"""One number for each decoder layer: a share or a count; empty until fitted."""


def check_falling(method: Any, field: str, alike: bool = True) -> None:
    """Check that the numbers in `field` do not rise from layer to layer.

    Args:
        method: the method that holds the numbers.
        field: name of its field with the numbers.
        alike: True forbids mixing shares and counts.

    Raises:
        InvalidValueError: a number rises, or shares and counts are mixed.
    """
    values, name = getattr(method, field), f"{type(method).__name__}.{field}"
    if any(after > before for before, after in pairwise(values)):
        raise InvalidValueError(f"{name} must not rise from layer to layer, but {short_repr(values)} does.")
    if alike and len({type(value) for value in values}) > 1:
        raise InvalidValueError(f"{name} must hold shares or counts, not both: {short_repr(values)}.")


def check_stages(method: Any, field: str) -> None:
    """Check that `field` has one number for each of the method's `layers`, in order.

    Raises:
        InvalidValueError: there are more or fewer numbers than layers; or neighbours in `layers` that are both counts
            or both fractions do not ascend.
    """
    values, layers, name = getattr(method, field), method.layers, type(method).__name__
    if len(values) != len(layers):
        raise InvalidValueError(
            f"{name}.{field} must hold one number for each of the {len(layers)} layers, not {short_repr(values)}."
        )
    if any(type(before) is type(after) and before > after for before, after in pairwise(layers)):
        raise InvalidValueError(
            f"{name}.layers must be in ascending order, as {field} goes with them, not {short_repr(layers)}."
        )


def check_depth(name: str, field: str, values: tuple[float, ...], n_layers: int) -> None:
    """Check that there is one number for each decoder layer.

    Raises:
        InvalidValueError: `values` is empty, or was fitted for a decoder of another depth.
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
    """Number of tokens that `value` means: a count, or a share of `entered`, rounded.

    The number is at most `entered`.
    """
    return min(entered, value if isinstance(value, int) else round(value * entered))
