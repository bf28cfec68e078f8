"""All that a method's choices depend on, for runs that go on later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from todre.files import Kind, sha256
from todre.methods.base import Method
from todre.methods.shared.seeds import parts

READ = Kind("restore it, or leave the method out", most=2**36)
"""Kind of file: what a method reads beside its fields."""


def identity_of(method: Method) -> dict[str, Any]:
    """Name, fields and SHA-256 of the files that the method reads, ready for JSON.

    Raises:
        InvalidValueError: a file cannot be read.
    """
    named = [getattr(part, name) for part in parts(method) for name in part.file_fields]
    read = {file: sha256(Path(file), READ) for file in named if file is not None}
    return method.to_dict() | ({"files": read} if read else {})
