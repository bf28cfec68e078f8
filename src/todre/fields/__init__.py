"""Checked fields: a dataclass checks its values against their annotations.

Each value is made plain (a numpy number becomes an int or float) or refused in one sentence, when the dataclass is
made.

What may stand in a field is what its annotation says: `bool`, `int`, `float`, `str`, `None`, `Literal`, enums, tuples,
unions, classes, and `Annotated` with marks; `todre.fields.kinds` has those that methods share. A whole number is also a
`float`, and stays whole.
"""

from __future__ import annotations

from todre.fields.base import Checked, check_fields
from todre.fields.coercion import fitted
from todre.fields.marks import Items, OneOf, Range, Wording
from todre.fields.words import short_repr

__all__ = ["Checked", "Items", "OneOf", "Range", "Wording", "check_fields", "fitted", "short_repr"]
