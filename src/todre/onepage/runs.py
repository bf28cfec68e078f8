"""Which command wrote a run's file, and the file's document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.bench.document import FORMAT as BENCH_FORMAT
from todre.bench.load.document import FORMAT as LOAD_FORMAT
from todre.files import Kind, read_json
from todre.reading.documents import WHAT as EVAL_WHAT
from todre.reading.documents import file_of
from todre.reproduce.document import WHAT as TABLE_WHAT

EVAL, BENCH, LOAD, TABLE = "eval", "bench", "bench --serve", "reproduce"
"""Kinds of runs: how the command that made them is called."""
RUN = Kind(
    "give the folder of a run of `todre eval` or `todre reproduce`, its result.json, or a document of `todre bench`"
)
"""Kind of any file that a page can be made of."""


@dataclass(frozen=True)
class Found:
    """The file of a run, and which kind of run it is."""

    kind: str
    file: Path


def find(path: Path) -> Found:
    """The file at `path`, or in that folder, with the kind of its run.

    Only the kind is looked at; the kind's own reader checks the rest.

    Raises:
        InvalidValueError: there is no file, or another program or command wrote it.
    """
    file = file_of(path)
    document: dict[str, Any] = read_json(file, RUN)
    what, form = document.get("what"), document.get("format")
    for kind, found, expected in (
        (EVAL, what, EVAL_WHAT), (TABLE, what, TABLE_WHAT), (BENCH, form, BENCH_FORMAT), (LOAD, form, LOAD_FORMAT),
    ):  # fmt: skip
        if found == expected:
            return Found(kind, file)
    if "recipe" in document and "instrument" in document:
        raise RUN.wrong(file, "is a figure of `todre reproduce`, whose picture lies beside it and has no table")
    raise RUN.wrong(file, "is no result of `todre eval`, `todre bench` or `todre reproduce`")
