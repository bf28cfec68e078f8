"""Where todre keeps what it fetched or made: the user's cache."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from todre.errors import OutputError
from todre.files import new_folder, printable

VARIABLE = "TODRE_CACHE"
"""The environment variable that names another cache folder."""
STAGE = ".todre-"
"""How the name of a folder begins that is not whole yet."""


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


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which then becomes `target`.

    If `target` is there by then, because another process made it, the new one is dropped. After an exception, it is
    removed.

    Args:
        target: does not exist yet; folders above it are made.

    Raises:
        OutputError: the folder cannot be written.
    """
    new_folder(target.parent, parents=True)
    stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=target.parent))
    try:
        yield stage
        for file in stage.iterdir():
            file.chmod(0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        stage.chmod(0o755)
        if not target.is_dir():
            _renamed(stage, target)
    except OSError as error:
        raise OutputError(
            f"{printable(target)} cannot be written ({error.strerror or error}); make room, or name another folder "
            f"with {VARIABLE}, and run it again."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _renamed(stage: Path, target: Path) -> None:
    """Rename a folder, unless another process was faster."""
    try:
        stage.rename(target)
    except OSError:
        if not target.is_dir():
            raise
