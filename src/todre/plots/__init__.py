"""Pictures of results: each figure is one function that returns a matplotlib Figure (extra `plots`)."""

from __future__ import annotations

import importlib.util

from todre.errors import MissingDependencyError

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
"""Suffixes that figures can be written as."""


def require_matplotlib() -> None:
    """Raise `MissingDependencyError` unless matplotlib is installed; imports nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "Drawing needs matplotlib, which is not installed; run `pip install 'todre[plots]'`, or ask for no picture."
        )
