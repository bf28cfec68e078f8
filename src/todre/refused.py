"""Architectures that cannot be pruned, each with the reason."""

from __future__ import annotations

REFUSED: dict[str, str] = {}
