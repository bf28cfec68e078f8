"""Annotations of fields that several methods and settings share."""

from __future__ import annotations

from typing import Annotated, Literal

from todre.fields.marks import Items, Range, Wording

Count = Annotated[int, Range(least=1)]
"""A whole number of at least 1."""
Natural = Annotated[int, Range(least=0)]
"""A whole number of at least 0."""
Seed = Annotated[int, Range(least=0, most=2**63 - 1)]
"""A seed that a random generator takes: a whole number from 0 to 2**63 − 1."""
Share = Annotated[float, Range(least=0, most=1, called="a share")]
"""A share in [0, 1]."""
Attended = Annotated[float, Range(least=0, most=1, called="a share of attention")]
"""A share of attention in [0, 1]."""
Positive = Annotated[float, Range(above=0)]
"""A number above 0."""
Cosine = Annotated[float, Range(least=-1, most=1, called="a cosine")]
"""A cosine in [-1, 1]."""

_Fraction = Annotated[float, Range(above=0, most=1)]
Retain = Annotated[
    Count | _Fraction,
    Wording("a fraction in (0, 1] such as 0.1, or a whole number of tokens from 1, such as 288"),
]
"""Tokens that stay: a share if it is a float, a count if it is an int.

1 means one token, 1.0 all tokens.
"""
Layer = Annotated[
    Count | _Fraction,
    Wording("a fraction of the depth in (0, 1] such as 7/8, or a count of layers from 1, such as 28"),
]
"""A place inside the LLM: a share of its depth, or a count of layers run.

A float is a share, an int a count.
"""
Layers = Annotated[tuple[Layer, ...], Items(least=1, lone=True)]
"""At least one place inside the LLM."""
TowerLayer = Annotated[
    int | Annotated[float, Range(least=0, below=1)],
    Wording("an index of a layer such as -2, or a fraction of the tower's depth in [0, 1) such as 0.5"),
]
"""A layer of the vision tower: an index as Python counts, or a share of the depth.

An int is an index, a float a share.
"""

Attention = Literal["auto", "cls", "received"]
"""Which attention of the vision tower is read."""
