"""The JSON document of a run, written whole after every cell, and resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from todre.errors import InvalidValueError
from todre.files import Kind, printable, read_json, write_atomic
from todre.files.shapes import COUNT, NUMBER, OBJECT, POSITIVE, TEXT, Each, Shape, misfit

if TYPE_CHECKING:
    from todre.bench.cell import Row

FORMAT = "todre bench 1"

Document = dict[str, Any]


class Conditions(Protocol):
    """A cell of any kind of run."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        ...


_SPREAD: Shape = {"p20": NUMBER, "p50": NUMBER, "p80": NUMBER}
_CELL: Shape = {
    "batch": POSITIVE, "text_tokens": POSITIVE, "new_tokens": POSITIVE, "backend": (TEXT, None), "threads": COUNT
}  # fmt: skip
_ROW: Shape = {"asked": OBJECT, "subject": TEXT, "kind": TEXT, "method?": (OBJECT, None)}
_CONDITIONS: Shape = {
    "model": {"name": TEXT, "dtype": TEXT, "weights?": TEXT},
    "machine": {"device": TEXT, "cpu": TEXT},
    "table?": (TEXT, None),
}
_SHAPE: Shape = {
    "conditions": _CONDITIONS, "left_out": Each(TEXT), "finished": [OBJECT], "rows": [_ROW]
}  # fmt: skip
_WHOLE: Shape = {
    **_ROW,
    "cell": _CELL,
    "rounds": POSITIVE,
    "ms": Each((_SPREAD, None)),
    "visual_tokens": {"before": COUNT, "entered": COUNT, "per_layer": [COUNT]},
    "kv_bytes": {"measured": NUMBER},
    "peak_bytes": ({"above": NUMBER}, None),
    "flops": ({"total": NUMBER}, None),
    "ratio_to_oracle": (Each((_SPREAD, None)), None),
}
"""Keys and types that a row must have for pages and tables."""
BENCH = Kind("give a file that `todre bench` wrote", _SHAPE)
_ANY_DOCUMENT = replace(BENCH, shape=OBJECT)
_WEIGHED: Shape = {**_CONDITIONS, "model": {**_CONDITIONS["model"], "weights": TEXT}}
_SHOWN = replace(BENCH, shape={**_SHAPE, "conditions": _WEIGHED, "rows": [_WHOLE]})


def new(conditions: Mapping[str, Any], command: str, form: str = FORMAT) -> Document:
    """A new document without rows, of the format `form`."""
    whole: Document = {
        "format": form, "command": command, "conditions": conditions, "left_out": {}, "finished": [], "rows": []
    }  # fmt: skip
    plain: Document = _plain(whole)
    return plain


def read(path: Path, whole: bool = False) -> Document:
    """Read a document that a run has written.

    Args:
        path: the file.
        whole: whether rows must have every value that pages and tables show.

    Raises:
        InvalidValueError: there is no such file, or the file is no result of `todre bench`.
    """
    found: Document = read_json(path, _ANY_DOCUMENT)
    if found.get("format") != FORMAT:
        raise BENCH.wrong(path, "is no result of todre bench")
    wrong = misfit(found, (_SHOWN if whole else BENCH).shape)
    if wrong:
        raise BENCH.wrong(path, wrong)
    return found


def resumed(path: Path, conditions: Mapping[str, Any], read_document: Callable[[Path], Document] = read) -> Document:
    """The document at `path`, to be continued.

    Args:
        path: the file.
        conditions: conditions of the run that goes on.
        read_document: reads the document, which may be of another format.

    Raises:
        InvalidValueError: the document was measured under other conditions.
    """
    document = read_document(path)
    differing = difference(document["conditions"], _plain(dict(conditions)))
    if differing is not None:
        what, then, now = differing
        raise InvalidValueError(
            f"{printable(path)} was measured under other conditions ({what} was {printable(repr(then))} and is "
            f"{printable(repr(now))}), and rows of two must not be mixed; start anew with --force in place of "
            "--resume, or write elsewhere."
        )
    return document


def difference(one: Any, other: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """First difference of two documents: (path, value, other value), or None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            found = difference(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
            if found is not None:
                return found
        return None
    return None if one == other else (path, one, other)


def add(document: Document, cell: Conditions, rows: list[Row], path: Path | None) -> None:
    """Add the rows of a finished cell, and write the document."""
    document["rows"] += _plain(rows)
    document["finished"].append(_plain(cell.to_dict()))
    if path is not None:
        write_atomic(path, as_text(document))


def is_finished(document: Document, cell: Conditions) -> bool:
    """True if the document has the cell's rows."""
    return cell.to_dict() in document["finished"]


def as_text(document: Document) -> str:
    """JSON text of the document, one line per row; the rows come last."""
    head = {name: value for name, value in document.items() if name != "rows"}
    rows = [json.dumps(row, allow_nan=False) for row in document["rows"]]
    body = "[]" if not rows else "[\n  " + ",\n  ".join(rows) + "\n ]"
    return json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}") + f',\n "rows": {body}\n}}\n'


def _plain(values: Any) -> Any:
    """`values` in the form that JSON reads back, with rounded numbers.

    Numbers keep six significant digits; larger numbers become whole.
    """
    return json.loads(json.dumps(_rounded(values), allow_nan=False))


def _rounded(values: Any) -> Any:
    if isinstance(values, float):
        return float(f"{values:.6g}") if abs(values) < 1e6 else round(values)
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_rounded(value) for value in values]
    return values
