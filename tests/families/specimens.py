"""All specimens of the zoo, found by looking into its files."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from families.zoo.specimen import Specimen


def all_specimens() -> list[Specimen]:
    """In the order of file names."""
    found = []
    for file in sorted((Path(__file__).parent / "zoo").glob("*.py")):
        module = importlib.import_module(f"families.zoo.{file.stem}")
        found += getattr(module, "SPECIMENS", [])
    return found


@lru_cache(maxsize=3)
def model_of(name: str, backend: str) -> Any:
    """The specimen's model, kept for the tests that follow each other."""
    return next(specimen for specimen in all_specimens() if specimen.name == name).build(backend)


def refused_variants() -> dict[str, str]:
    """Specimens whose checkpoints cannot be pruned although others of the family can, and what the error says."""
    return {
        "gemma4": "read the keys and values of earlier layers",
        "gemma3n": "read the keys and values of earlier ones",
        "unlimited_ocr": "keep the prompt and a window of the answer apart",
        "unlimited_ocr-wide": "keep the prompt and a window of the answer apart",
        "mistral_large4": "an index picks",
        "mistral_large4-all-keys": "an index picks",
        "granite4_vision": "enter at several decoder layers",
        "chameleon": "merges pictures inside the decoder",
        "fuyu": "which picture",
        "nemotron_h_omni-hybrid": "no rotary positions",
        "nemotron_h_omni-full": "no rotary positions",
    }
