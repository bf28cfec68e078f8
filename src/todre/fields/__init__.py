"""Checked fields: a dataclass checks its values against their annotations.

When an instance is made, each value becomes plain (a numpy number becomes an int or float) or is refused in
one sentence.

The annotation of a field says which values are allowed: `bool`, `int`, `float`, `str`, `None`, `Literal`, enums,
tuples, unions, classes, and `Annotated` with marks; `todre.fields.kinds` has the annotations that methods share. A
whole number is also allowed as a `float`, and stays whole.
"""

from __future__ import annotations

from todre.fields.base import Checked, check_fields
from todre.fields.coercion import fitted
from todre.fields.marks import Items, OneOf, Range, Wording
from todre.fields.words import short_repr

__all__ = ["Checked", "Items", "OneOf", "Range", "Wording", "check_fields", "fitted", "short_repr"]
