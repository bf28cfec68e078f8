"""All specimens of the zoo, found by looking into its files."""

from __future__ import annotations

import importlib
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from families.zoo.specimen import Specimen
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

_LACKING = re.compile(r"cannot import name '(\w+)' from 'transformers'")


def all_specimens() -> list[Specimen]:
    """Those of architectures that this release of transformers knows, in the order of file names."""
    return [one for one in _zoo()[0] if one.model_type in CONFIG_MAPPING_NAMES]


def left_out() -> tuple[list[str], list[str]]:
    """Names of the specimens that `all_specimens` leaves out, and of the classes that transformers lacks for them."""
    specimens, lacking = _zoo()
    return sorted(one.name for one in specimens if one.model_type not in CONFIG_MAPPING_NAMES), lacking


@lru_cache(maxsize=1)
def _zoo() -> tuple[list[Specimen], list[str]]:
    """Everything in the zoo's files; a class that transformers lacks is None in the file that asks for it."""
    found: list[Specimen] = []
    lacking: list[str] = []
    files = sorted((Path(__file__).parent / "zoo").glob("*.py"))
    try:
        while files:
            try:
                module = importlib.import_module(f"families.zoo.{files[0].stem}")
            except ImportError as error:
                named = _LACKING.match(str(error))
                if named is None or named[1] in lacking:
                    raise
                lacking.append(named[1])
                setattr(sys.modules["transformers"], named[1], None)
                continue
            found += getattr(module, "SPECIMENS", [])
            files.pop(0)
    finally:
        for name in lacking:
            delattr(sys.modules["transformers"], name)
    return found, lacking


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
