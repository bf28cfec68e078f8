"""Four shipped photographs, in the public domain or under CC0.

photographs/README.md names the photographers.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import Image

from todre.errors import InvalidValueError

PHOTOGRAPHS: tuple[str, ...] = ("astronaut", "chelsea", "coffee", "rocket")


def photograph_path(name: str) -> Path:
    """Path of the JPEG file of a shipped photograph.

    Raises:
        InvalidValueError: no photograph has that name.
    """
    if name not in PHOTOGRAPHS:
        raise InvalidValueError(f"there is no photograph named {name!r}; use one of {', '.join(PHOTOGRAPHS)}")
    return Path(__file__).parent / "photographs" / f"{name}.jpg"


def photograph(name: str) -> Image.Image:
    """A fresh RGB copy of a shipped photograph.

    Raises:
        InvalidValueError: no photograph has that name.
    """
    return _load(name).copy()


@lru_cache(maxsize=len(PHOTOGRAPHS))
def _load(name: str) -> Image.Image:
    with Image.open(photograph_path(name)) as opened:
        return opened.convert("RGB")
