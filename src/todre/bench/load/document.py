"""The JSON document of a load run, written whole after every cell, and resumable."""

from __future__ import annotations

from pathlib import Path

from todre.bench.document import Document
from todre.files import Kind, read_json
from todre.files.shapes import COUNT, FLAG, NUMBER, OBJECT, POSITIVE, TEXT, Each, Shape, misfit

FORMAT = "todre bench serve 1"

_SPREAD: Shape = {"p20": NUMBER, "p50": NUMBER, "p80": NUMBER}
_LATENCY: Shape = {"p50": NUMBER, "p95": NUMBER}
_CELL: Shape = {"concurrency": POSITIVE, "requests": POSITIVE, "pictures": COUNT, "soak": FLAG}
_ROW: Shape = {
    "cell": _CELL,
    "configuration": TEXT,
    "rounds": POSITIVE,
    "requests": POSITIVE,
    "failed": COUNT,
    "failures": Each(COUNT),
    "tokens": COUNT,
    "requests_per_second": (_SPREAD, None),
    "ratio_to_baseline": (_SPREAD, None),
    "tokens_per_second": (_SPREAD, None),
    "ms": {"first_token": (_LATENCY, None), "between_tokens": (_LATENCY, None), "whole": (_LATENCY, None)},
    "tower_share": (_SPREAD, None),
    "peak_kv": ({"share?": NUMBER, "bytes?": NUMBER, "tokens": (COUNT, None), "looks": POSITIVE}, None),
    "resident_bytes": ({"start": COUNT, "end": COUNT, "most": COUNT}, None),
    "memory?": ({"early": (NUMBER, None), "late": (NUMBER, None), "growth": (NUMBER, None)}, None),
}
_SHAPE: Shape = {
    "conditions": {
        "model": {"name": TEXT, "dtype": TEXT, "visual_tokens": (COUNT, None)},
        "machine": {"device": TEXT, "cpu": TEXT},
        "settings": OBJECT,
        "configurations": [{"name": TEXT, "command": [TEXT]}],
    },
    "left_out": Each(TEXT),
    "finished": [_CELL],
    "rows": [_ROW],
}
LOAD = Kind("give a file that `todre bench --serve` wrote", _SHAPE)
_ANY_DOCUMENT = Kind(LOAD.hint, OBJECT)


def is_of_load(document: Document) -> bool:
    """Whether a document is of a load run."""
    return document.get("format") == FORMAT


def read(path: Path) -> Document:
    """Read a document that a load run has written.

    Raises:
        InvalidValueError: there is no such file, or the file is no result of a load run.
    """
    found: Document = read_json(path, _ANY_DOCUMENT)
    if not is_of_load(found):
        raise LOAD.wrong(path, "is no result of todre bench --serve")
    wrong = misfit(found, LOAD.shape)
    if wrong:
        raise LOAD.wrong(path, wrong)
    return found
