"""Files of `todre batch`: what its arguments name, and where answers go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from todre.cli.console import check_output, note
from todre.cli.parsers import check_question
from todre.errors import TodreError
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
        check_target(lines, files, force=True)
        check_target(output, force=os.path.lexists(lines))  # a table without its lines is of no earlier run


def open_source(inputs: list[str], question: str | None, quiet: bool) -> Source:
    """The rows that the arguments name."""
    from todre.batch.sources import JsonLines, Pictures, left_out

    paths = [path for text in inputs for path in _named(text)]
    suffix = paths[0].suffix.lower()
    if suffix in (JSON_LINES, PARQUET) and not paths[0].is_dir():
        if len(paths) > 1:
            raise typer.BadParameter(f"{paths[0]} holds rows, and is given beside {paths[1]}; give it alone.")
        if question is not None:
            raise typer.BadParameter(
                f"--question is for pictures, and the rows of {paths[0]} have their own; leave it out."
            )
        if suffix == JSON_LINES:
            return JsonLines(paths[0])
        from todre.batch.parquet import ParquetRows

        return ParquetRows(paths[0])
    if question is None:
        raise typer.BadParameter(f"{paths[0]} is no file of rows (.jsonl, .parquet); add --question for pictures.")
    for folder in (path for path in paths if path.is_dir()):
        if others := left_out(folder):
            note(f"{others} files or folders in {folder} are no pictures by their names, and are left out", quiet)
    return Pictures(tuple(paths), check_question(question))


def _named(text: str) -> Iterator[Path]:
    """The paths that an argument names.

    A pattern such as `*.png`, which a shell did not fill in, names many.
    """
    import glob

    path = Path(text)
    if glob.has_magic(text) and not path.exists():
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise TodreError(f"{text} fits no file; check the pattern.")
        yield from map(Path, found)
        return
    yield path
