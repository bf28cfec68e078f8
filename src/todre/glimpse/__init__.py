"""GlimpsePrune's learned glimpse and its predictor (arXiv 2508.01548): made, trained, kept in a file."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped_weights"]


def shipped_weights() -> Path:
    """The weights that `python -m todre.glimpse.train` made for the model that ships with the package."""
    return Path(__file__).parent / "weights" / "glimpse.safetensors"
