"""Parquet: plain rows to answer in it, and answers written as it."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.batch.lines import OUTPUT, read_output
from todre.batch.records import Place, Record
from todre.batch.sources import RowsFile, record_of
from todre.errors import InvalidValueError, MissingDependencyError
from todre.files import Kind, atomic_path, opened
from todre.files.names import reason

TABLE = Kind("give a Parquet file with columns such as id, image and question", most=2**42)
"""Kind of file: rows to answer, as Parquet."""
_READ_AT_ONCE = 32
_WRITTEN_AT_ONCE = 1024


@dataclass(frozen=True)
class ParquetRows(RowsFile):
    """A Parquet file of plain rows; pictures are paths, `data:` URLs or bytes.

    Records are at (row group, index in it, number of the row from 1). Empty cells are
    fields that the row does not have.
    """

    def records(self) -> Iterator[Record]:
        """Each row, a few in memory at a time.

        Raises:
            InvalidValueError: the file is no Parquet, or a row has an id that cannot be used.
            MissingDependencyError: the `pyarrow` package is absent.
        """
        number = 0
        with _opened(self.file) as table:
            for group in range(table.num_row_groups):
                index = 0
                for batch in table.iter_batches(batch_size=_READ_AT_ONCE, row_groups=[group]):
                    for values in batch.to_pylist():
                        number += 1
                        yield self._record(values, (group, index, number))
                        index += 1

    def read(self, place: Place) -> Record:
        """The record at (row group, index, number); the group stays in memory."""
        group, index, _ = place
        return self._record(_group(self.file, group).slice(index, 1).to_pylist()[0], place)

    def _record(self, values: dict[str, Any], place: Place) -> Record:
        given = {name: value for name, value in values.items() if value is not None}
        where = f"Row {place[2]} of {self.name}"
        if "custom_id" in given or "body" in given:
            raise InvalidValueError(f"{where} is a request of OpenAI's batch API; write such rows as JSON lines.")
        return record_of(given, place, str(place[2]), where)


def write_parquet(lines: Path, target: Path) -> None:
    """Write an output of JSON lines as one Parquet file, which appears whole.

    Raises:
        MissingDependencyError: the `pyarrow` package is absent.
        OutputError: the file cannot be written.
    """
    arrow, parquet = _pyarrow()
    text, count = arrow.string(), arrow.int64()
    schema = arrow.schema(
        {"id": text, "answer": text, "ended": text, "model": text, "prompt_tokens": count, "new_tokens": count}
        | {"visual_tokens_before": count, "visual_tokens_after": count, "guarded": text, "unknown_words": text}
        | {"error_type": text, "error_message": text}
    )
    with (
        opened(lines, OUTPUT) as stream,
        atomic_path(target) as temporary,
        parquet.ParquetWriter(temporary, schema) as writer,
    ):
        rows = (_flat(values) for _, _, values in read_output(stream, lines) if values is not None)
        while few := list(itertools.islice(rows, _WRITTEN_AT_ONCE)):
            writer.write_table(arrow.Table.from_pylist(few, schema=schema))


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """A line of an output as one row of a table; cells without a value are empty."""
    error = values.get("error") or {}
    wrong = {"error_type": error.get("type") or error.get("code"), "error_message": error.get("message")}
    if "custom_id" not in values:
        return {**values, **_seen(values), **wrong}
    body = (values.get("response") or {}).get("body") or {}
    choice, usage = (body.get("choices") or [{}])[0], body.get("usage") or {}
    return {
        "id": values["custom_id"],
        "answer": choice.get("message", {}).get("content"),
        "ended": choice.get("finish_reason"),
        "model": body.get("model"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "new_tokens": usage.get("completion_tokens"),
        **_seen(body.get("todre") or {}),
        **wrong,
    }


def _seen(values: dict[str, Any]) -> dict[str, Any]:
    """What a line says of visual tokens; what a guard saw, and unknown words."""
    pair, guarded = values.get("visual_tokens") or {}, values.get("guarded")
    return {
        "visual_tokens_before": pair.get("before"),
        "visual_tokens_after": pair.get("after"),
        "guarded": None if guarded is None else json.dumps(guarded),
        "unknown_words": " ".join(values.get("unknown_words") or ()) or None,
    }


def _opened(file: Path) -> Any:
    """The file as pyarrow reads it."""
    _, parquet = _pyarrow()
    with opened(file, TABLE):
        pass
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise TABLE.wrong(file, f"cannot be read as Parquet ({reason(error)})") from error


@functools.lru_cache(maxsize=1)
def _group(file: Path, group: int) -> Any:
    """One row group, kept for the rows after the first."""
    with _opened(file) as table:
        return table.read_row_group(group)


def check_parquet() -> None:
    """Raise unless Parquet can be written.

    Raises:
        MissingDependencyError: the `pyarrow` package is absent.
    """
    _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet is read and written with the pyarrow package, which cannot be imported ({error}); "
            "`pip install 'todre[ray]'` brings it."
        ) from error
    return pyarrow, parquet
