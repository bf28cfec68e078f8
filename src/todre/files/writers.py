"""Writers of files: every file is written here, whole or not at all.

An input is never overwritten, and an earlier file only if the user asks for that.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from todre.errors import InvalidValueError, OutputError
from todre.files.names import printable, reason

_LONGEST_SUFFIX = 16


def check_targets(
    targets: Iterable[Path], inputs: Iterable[str | Path | None] = (), force: bool = False, option: bool = True
) -> None:
    """Run `check_target` for files that are written together; they must differ."""
    known: dict[tuple[int, int], Path] = {}
    sources = list(inputs)
    for target in targets:
        check_target(target, sources, force, option)
        found = _status(target)
        if found is not None:
            other = known.setdefault((found.st_dev, found.st_ino), target)
            if other is not target:
                raise OutputError(f"{printable(target)} and {printable(other)} are one file; give two names.")


def check_target(
    target: Path, inputs: Iterable[str | Path | None] = (), force: bool = False, option: bool = True
) -> None:
    """Raise, before any work, unless a result can be written at `target`.

    Args:
        target: the file.
        inputs: files and folders that are read; other names are ignored. An input is never overwritten, however its
            path is spelled, since files are compared by identity and not by name.
        force: whether an earlier result may be replaced.
        option: whether the user can say so by --force.

    Raises:
        OutputError: the file is an input, exists already, is no regular file, or its folder cannot be written.
    """
    found = _status(target)
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            raise OutputError(f"{printable(target)} is a directory; give the name of a file to write.")
        if not stat.S_ISREG(found.st_mode):
            raise OutputError(f"{printable(target)} is not a regular file; give the name of a file to write.")
        for source in _files_of(inputs):
            other = _status(source)
            if other is not None and os.path.samestat(found, other):
                same = "" if str(source) == str(target) else f" ({printable(source)})"
                raise OutputError(f"{printable(target)} is a file that this reads{same}; write elsewhere.")
        if not force:
            way = "replace it with --force" if option else "move it away"
            raise OutputError(f"{printable(target)} is there already; {way}, or write elsewhere.")
    check_folder(Path(os.path.realpath(target)).parent if target.is_symlink() else target.parent)


def check_folder(folder: Path) -> None:
    """Raise unless files can be created in `folder`.

    Raises:
        OutputError: the folder does not exist, or nothing can be written in it.
    """
    found = _status(folder)
    if found is None:
        raise OutputError(f"The directory {printable(folder)} does not exist; create it first, or write elsewhere.")
    if not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{printable(folder)} is a file where a directory is needed; write elsewhere.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"Nothing can be written in {printable(folder)} ({reason(error)}); write elsewhere."
        ) from error


def new_folder(folder: Path, parents: bool = False) -> None:
    """Make a folder if there is none yet; check that files can be created in it.

    Raises:
        OutputError: the folder cannot be made, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{printable(folder)} cannot be made a directory ({reason(error)}); write elsewhere."
        ) from error
    check_folder(folder)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; its file then becomes `target`.

    After an exception, the temporary file is removed instead.

    The temporary name keeps the target's suffix, so that libraries that choose a format by suffix work. Where `target`
    is a symbolic link, the file that it points at is replaced, and the link stays.

    Raises:
        OutputError: `target` cannot be written; an earlier file is still there.
    """
    final = Path(os.path.realpath(target))
    suffix = final.suffix if len(final.suffix) <= _LONGEST_SUFFIX else ""
    temporary = final.parent / f".todre-{secrets.token_hex(6)}{suffix}"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, final)
    except OSError as error:
        raise OutputError(
            f"{printable(target)} cannot be written ({reason(error)}); make room or give another name, and run it "
            "again."
        ) from error
    finally:
        _remove(temporary)


def write_atomic(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `target` by way of a temporary file and a rename.

    Lone surrogates, which stand for undecodable bytes of a file's name, are written as JSON escapes.
    """
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def append(stream: IO[bytes], line: str, path: Path, sync: bool = False) -> None:
    """Append a line to an open working file, without its buffer.

    With `sync`, the line is on the disk afterwards.

    The buffer is avoided because text that a full disk leaves in it would raise again when the file is closed.

    Raises:
        OutputError: the line cannot be written.
    """
    try:
        left = memoryview(line.encode("utf-8", "backslashreplace") + b"\n")
        while left:
            left = left[os.write(stream.fileno(), left) :]
        if sync:
            os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError(
            f"{printable(path)} cannot be written ({reason(error)}); make room, and run it again to go on."
        ) from error


def lock(stream: IO[bytes]) -> bool:
    """Lock an open file until it is closed; False if another process has it.

    Systems without `fcntl` have no such lock, and nothing is done there.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_locked(path: Path, option: str) -> BinaryIO:
    """Open a working file to read and append, locked against other runs.

    Args:
        path: the file; a new one if there is none.
        option: the option that names it, for messages.

    Raises:
        InvalidValueError: another run has it open.
        OutputError: nothing can be written there, or it cannot be locked.
    """
    try:
        stream = path.open("a+b")
    except (OSError, ValueError) as error:
        raise OutputError(f"{printable(path)} cannot be written ({reason(error)}); give another {option}.") from error
    try:
        locked = lock(stream)
    except OSError as error:  # network file systems without locks
        stream.close()
        raise OutputError(
            f"{printable(path)} cannot be locked against other runs ({reason(error)}); give {option} a place on a "
            "local disk."
        ) from error
    if not locked:
        stream.close()
        raise InvalidValueError(
            f"{printable(path)} is being written by another run; wait for it, or give another {option}."
        )
    return stream


def _to_disk(path: Path) -> None:
    """Write a file's content to the disk before it gets its name.

    Otherwise a power cut can leave the name with nothing behind it.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # its folder is gone, or the name was never one that could be written; the error of before says it


def _status(path: Path) -> os.stat_result | None:
    """The status of the file or folder at a path; None if there is none."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{printable(path)} cannot be written ({reason(error)}); write elsewhere.") from error


def _files_of(inputs: Iterable[str | Path | None]) -> Iterator[Path]:
    """The inputs that are files, and the files in the inputs that are folders."""
    for source in inputs:
        if source is None or not str(source):
            continue
        try:
            path = Path(source).expanduser()
            yield from (child for child in path.iterdir() if child.is_file()) if path.is_dir() else (path,)
        except (OSError, ValueError, RuntimeError):  # RuntimeError: ~name of a user that there is not
            continue
