"""Options that `todre plot` and `todre table` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todre.cli.parsers import one_of, parse_names
from todre.reading.results import MEASURES

if TYPE_CHECKING:
    from todre.reading.results import Results


def read_results(paths: list[Path], methods: tuple[str, ...] | None) -> Results:
    """Read results from files; `methods`, if set, limits them to these methods."""
    from todre.reading.results import read

    found = read(paths)
    return found.only(methods) if methods else found


Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULT…",
        help="Folders of `todre eval`, or their result.json; several must have the same questions.",
    ),
]
Methods = Annotated[
    Any,
    typer.Option(
        "--methods", parser=parse_names, metavar="A,B,…", help="Only these methods. Without it, all of the run."
    ),
]
Highlight = Annotated[
    Any,
    typer.Option(
        "--highlight",
        parser=parse_names,
        metavar="A,B,…",
        help="Methods to show in colour. Without it, ToDRE, random and the best.",
    ),
]
Measure = Annotated[
    str,
    typer.Option(
        "--measure",
        parser=one_of(*MEASURES),
        metavar="NAME",
        help="retention, score, or difference (from no pruning).",
    ),
]
