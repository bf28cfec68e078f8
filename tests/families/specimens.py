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
