"""Files going in and out: an input is checked before it is opened, a result appears complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from todre.errors import TodreError


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is renamed to `target`, on an exception it is removed.

    The temporary name keeps the target's suffix, so that libraries that choose a format by suffix work.
    """
    target = Path(target)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def check_input(path: Path, thing: str, error: type[TodreError]) -> None:
    """Raise `error`, in one sentence, unless `path` is a file with something in it.

    Args:
        path: what the user gave; an address is refused, since nothing is downloaded.
        thing: what the file should hold: "image", "clip".
    """
    if str(path).startswith(("http://", "https://", "http:/", "https:/")):
        raise error(f"{path} is an address, and todre reads files only; download the {thing} and give its file name.")
    try:
        if not path.exists():
            raise error(f"{path} does not exist; check the {thing}'s file name.")
        if path.is_dir():
            raise error(f"{path} is a directory; give one {thing} file.")
        if not path.is_file():
            raise error(f"{path} is not a regular file; give a file that holds one {thing}.")
        if path.stat().st_size == 0:
            raise error(f"{path} is empty (0 bytes); the {thing} was never written, save it again.")
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror or failure}); check its permissions.") from failure


def write_atomic(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `target` by way of a temporary file and a rename."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
