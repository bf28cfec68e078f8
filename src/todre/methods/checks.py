"""Hyper-parameters that are shares, numbers in a range, or counts: each refusal says the value and the remedy."""

from __future__ import annotations

import numbers

from todre.errors import InvalidValueError


def check_share(field: str, value: object) -> None:
    """Raise unless `value` is a number in [0, 1]."""
    if not _between(value, 0.0, 1.0):
        raise InvalidValueError(f"{field} must be a share in [0, 1], not {value!r}.")


def check_cosine(field: str, value: object) -> None:
    """Raise unless `value` is a number in [-1, 1]."""
    if not _between(value, -1.0, 1.0):
        raise InvalidValueError(f"{field} must be a cosine in [-1, 1], not {value!r}.")


def check_positive(field: str, value: object) -> None:
    """Raise unless `value` is a finite number above 0."""
    if not _between(value, 0.0, 1e300) or value == 0:
        raise InvalidValueError(f"{field} must be a number above 0, not {value!r}.")


def check_count(field: str, value: object, least: int) -> None:
    """Raise unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise InvalidValueError(f"{field} must be a whole number of at least {least}, not {value!r}.")


def _between(value: object, low: float, high: float) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and low <= float(value) <= high  # type: ignore[arg-type]


def check_tower_layer(field: str, value: object) -> None:
    """Raise unless `value` is a fraction of the tower's depth in [0, 1), a float, or an index as Python counts."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole and not (isinstance(value, float) and 0.0 <= value < 1.0):
        raise InvalidValueError(
            f"{field} must be an index of a layer such as -2, or a fraction of the tower's depth in [0, 1) "
            f"such as 0.5, not {value!r}."
        )
