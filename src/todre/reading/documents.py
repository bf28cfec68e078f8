"""Documents of `todre eval`, read from its files and checked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from todre.files import read_json
from todre.files.shapes import OBJECT, misfit
from todre.reading.result_shape import RESULT

WHAT = "answers of a model under pruning methods"
"""Text that `todre eval` writes under `what` in its document."""
_ANY_DOCUMENT = replace(RESULT, shape=OBJECT)


def document_of(path: Path) -> dict[str, Any]:
    """The document of a run's folder, or of a file.

    Raises:
        InvalidValueError: there is no document of `todre eval`.
    """
    file = file_of(path)
    found: dict[str, Any] = read_json(file, _ANY_DOCUMENT)
    if found.get("what") != WHAT:
        raise RESULT.wrong(file, "is no result of `todre eval`")
    wrong = misfit(found, RESULT.shape) or (None if found["rows"] else "has no rows")
    if wrong:
        raise RESULT.wrong(file, wrong)
    return found


def file_of(path: Path) -> Path:
    """The result file for a path: the path itself, or the file in a run's folder."""
    return path / "result.json" if os.path.isdir(path) else path
