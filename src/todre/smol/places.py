"""Where todre keeps what it fetched or made: the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "TODRE_CACHE"
"""The environment variable that names another cache folder."""


def cache_folder() -> Path:
    """The cache's folder, which need not exist.

    It is what `TODRE_CACHE` says, and else the platform's: below `XDG_CACHE_HOME` or ~/.cache, ~/Library/Caches on
    macOS, and LOCALAPPDATA on Windows.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "todre" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "todre"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "todre"


def smol_folder() -> Path:
    """The cache's folder for the pretrained decoder and the models made from it."""
    return cache_folder() / "smol"
