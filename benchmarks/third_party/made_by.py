"""Names what made an answer, so that a later run takes up only those of its own.

Two answers with the same maker differ in nothing but what their chunk says itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import todre

CODE = (Path(__file__).parent, Path(todre.__file__).parent)
"""Folders whose code decides answers; todre's version alone does not say what an editable install holds."""
KINDS = (".py", ".jpg")
"""Endings of the files that count: code, and the photographs under the cut-outs."""


def made_by(*packages: str) -> dict[str, str]:
    """Versions of the packages that decide an answer, and the hash of our code."""
    return {**{name: version(name) for name in packages}, "code": hash_of(CODE)}


def hash_of(folders: Sequence[Path]) -> str:
    """SHA-256 of the code and pictures in some folders, with their names."""
    return hash_of_files([
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in KINDS
    ])  # fmt: skip


def hash_of_files(files: Sequence[tuple[str, Path]]) -> str:
    """SHA-256 of files with the names that they go by, whatever their order."""
    whole = hashlib.sha256()
    for name, path in sorted(files):
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
