"""Checks of what is given as a method."""

from __future__ import annotations

from typing import Any

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.fields import short_repr
from todre.methods.base import Method


def check_method(method: Any) -> None:
    """Check that `method` is a method.

    Raises:
        InvalidValueError: `method` is not a method.
    """
    if not isinstance(method, Method):
        raise InvalidValueError(
            f"method must be a method such as todre.ToDRE(retain=0.1), not {short_repr(method)}; "
            "by name: todre.methods.registry.create('todre', retain=0.1)."
        )


def check_prunes(method: Method) -> None:
    """Check that `method` acts on a model, and not before the processor.

    Raises:
        UnsupportedInputError: the method acts on pictures, which whoever prunes a model does not see.
    """
    if method.in_pixels:
        raise UnsupportedInputError(
            f"{method.name} resizes pictures before the processor, which pruning the model cannot do; resize each "
            "picture with todre.downsample(image, processor, model, retain=0.25) and run the model on it without this "
            "method."
        )
