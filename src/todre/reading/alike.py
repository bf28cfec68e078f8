"""Whether two runs of `todre eval` may stand in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.fields import short_repr

_DECIDING = ("guard", "group_size", "attn_implementation")
"""Conditions that decide answers, besides model, dtype and questions.

Batches change their last digits alone.
"""


def model_of(conditions: dict[str, Any]) -> str:
    """The model's name, without its folders."""
    return Path(conditions["model"]).name or str(conditions["model"])


def identity(conditions: dict[str, Any]) -> tuple[Any, ...]:
    """What makes the models of two runs the same."""
    return tuple(conditions[key] for key in ("model_sha256", "model", "dtype"))


def check_alike(first: Path, one: dict[str, Any], second: Path, other: dict[str, Any]) -> None:
    """Check that two runs of one model differ in nothing else that decides answers.

    Args:
        first, second: where the runs are.
        one, other: their conditions.

    Raises:
        InvalidValueError: they differ.
    """
    if identity(one) != identity(other):
        return
    different = next((key for key in _DECIDING if one.get(key) != other.get(key)), None)
    if different is not None:
        raise InvalidValueError(
            f"{first} and {second} were run with different {different} ({short_repr(one.get(different))} and "
            f"{short_repr(other.get(different))}), so that their numbers cannot be compared; show them apart."
        )
