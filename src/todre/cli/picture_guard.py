"""`--guard`: what looks at each picture before the LLM runs, and its parser."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from todre.cli.method_names import FILE
from todre.cli.parsers import one_of, usage
from todre.methods.base import Method
from todre.methods.guard import OFF, Guard, load


def parse_guard(text: str) -> str:
    """Parse off, warn, refuse, or the name of a file that holds a guard."""
    if not text.endswith(FILE):
        return str(one_of(OFF, "warn", "refuse")(text))
    with usage():
        load(Path(text))
    return text


GuardName = Annotated[
    str,
    typer.Option(
        "--guard",
        parser=parse_guard,
        metavar="NAME",
        help="Pictures that pruning may harm: off does not look, warn warns, refuse leaves them whole; or a JSON file "
        "of a guard.",
    ),
]


def guard_of(text: str, methods: Iterable[Method] = ()) -> Guard | None:
    """The guard that was typed, checked with each of `methods`; None for off."""
    with usage():
        guard = load(Path(text)) if text.endswith(FILE) else Guard.of(text)
        if guard is not None:
            for method in methods:
                guard.check(method)
    return guard


def guard_files(text: str) -> tuple[str, ...]:
    """The file that was typed; it is an input of the command."""
    return (text,) if text.endswith(FILE) else ()
