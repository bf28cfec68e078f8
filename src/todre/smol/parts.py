"""Names of the models, and the files that were trained for them."""

from __future__ import annotations

from pathlib import Path

from todre.errors import LoadError

SMOL = "smol"
"""Name of the model that was trained with seed 0."""
SMOL_1 = "smol-1"
"""Name of the model that was trained with seed 1."""
FOLDER = Path(__file__).parent / "checkpoint"
"""The folder of the files that were trained."""
_SEEDS = {SMOL: 0, SMOL_1: 1}


def names() -> tuple[str, ...]:
    """Names of the models."""
    return tuple(_SEEDS)


def has_part(name: str = SMOL) -> bool:
    """Whether this todre brings the file that was trained for a model."""
    return _part(name).is_file()


def part_path(name: str = SMOL) -> Path:
    """The file that was trained for a model: connector, newline and LoRA.

    Raises:
        LoadError: this todre does not bring it.
    """
    file = _part(name)
    if not file.is_file():
        raise LoadError(f"{name} does not come with this release of todre ({file.name} is missing); update todre.")
    return file


def _part(name: str) -> Path:
    return FOLDER / f"seed-{_SEEDS[name]}.safetensors"
