"""Files of `todre batch`: what its arguments name, and where answers go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from todre.cli.console import check_output, note
from todre.cli.parsers import check_question
from todre.files import check_target

if TYPE_CHECKING:
    from todre.batch.sources import Source

JSON_LINES, PARQUET = ".jsonl", ".parquet"


def lines_of(output: Path) -> Path:
    """The file that answers are appended to."""
    return output if output.suffix.lower() == JSON_LINES else output.with_name(output.name + JSON_LINES)


def check_answers(output: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise unless answers can be written at `output`, or are there already.

    Pictures in folders are not among the files that it is compared with: none has the suffix of an output.
    """
    files = [each for each in inputs if each is not None and not Path(each).is_dir()]
    check_output(output, (JSON_LINES, PARQUET), files, force=True)
    lines = lines_of(output)
    if lines != output:
        from todre.batch.parquet import check_parquet

        check_target(lines, files, force=True)
        # A table without its lines is of no earlier run.
        check_target(output, force=os.path.lexists(lines), option=False)
        check_parquet()


def open_source(inputs: list[str], question: str | None, quiet: bool, urls: bool = False) -> Source:
    """The rows that the arguments name.

    Args:
        inputs: the arguments.
        question: the question about each picture; None for a file of rows.
        quiet: do not say what a folder leaves out.
        urls: whether web addresses are fetched.
    """
    from todre.batch.sources import JsonLines, Pictures, left_out

    names = [name for text in inputs for name in _named(text, urls)]
    first = Path(names[0])
    suffix = first.suffix.lower()
    if suffix in (JSON_LINES, PARQUET) and not os.path.isdir(first):
        if len(names) > 1:
            raise typer.BadParameter(f"{first} holds rows, and is given beside {names[1]}; give it alone.")
        if question is not None:
            raise typer.BadParameter(
                f"--question is for pictures, and the rows of {first} have their own; leave it out."
            )
        if suffix == JSON_LINES:
            return JsonLines(first)
        from todre.batch.parquet import ParquetRows

        return ParquetRows(first)
    if question is None:
        raise typer.BadParameter(f"{names[0]} is no file of rows (.jsonl, .parquet); add --question for pictures.")
    for folder in (Path(name) for name in names if os.path.isdir(name)):
        if others := left_out(folder):
            note(f"{others} files or folders in {folder} are no pictures by their names, and are left out", quiet)
    return Pictures(tuple(names), check_question(question))


def _named(text: str, urls: bool) -> Iterator[str]:
    """The pictures, folders and files that an argument names.

    A pattern such as `*.png`, which a shell did not fill in, names many, and so does a range of pages.
    """
    from todre.inputs import named_pictures, reading_for
    from todre.inputs.several import matches

    place = reading_for(urls, stdin="cannot be read again when a run goes on").located(text)
    if place.kind == "data":
        raise typer.BadParameter("a data: URL has no name that its row could have; put it into a file of rows.")
    if place.path is None or place.pages is not None:
        yield from named_pictures((text,), None)
        return
    yield from matches(text) or [str(place.path)]
