"""The output: a line for each row that is done, on the disk when it is added.

A line that a kill left unfinished is cut off when the file is opened again. Beside it, `OUTPUT.run.json` holds the
settings of the run. The file is locked while it is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from todre.batch.lines import OUTPUT, Finished, finished, line_of, read_output
from todre.batch.records import Outcome, digest_of
from todre.batch.seen import Ids
from todre.batch.settings import difference, read_settings, write_settings
from todre.errors import InvalidValueError
from todre.files import append, atomic_path, open_locked, printable
from todre.files import opened as reading


@dataclass
class Tally:
    """Counts of an output's rows.

    Attributes:
        answered, failed: rows with an answer, and with an error.
        before, after: sums of visual tokens before and after pruning, over answered rows that say them.
    """

    answered: int = 0
    failed: int = 0
    before: int = 0
    after: int = 0

    def count(self, failed: bool, visual_tokens: tuple[int, int] | None) -> None:
        """Count one row."""
        self.failed += failed
        self.answered += not failed
        before, after = visual_tokens or (0, 0)
        self.before += before
        self.after += after


@dataclass
class Output:
    """An open, locked output.

    Attributes:
        file: its path.
        fingerprint: hash of the run's settings.
        done: ids of the rows that are in it and are not to be answered again.
        tally: counts of its rows.
    """

    file: Path
    fingerprint: str
    stream: BinaryIO
    done: Ids = field(default_factory=Ids)
    tally: Tally = field(default_factory=Tally)

    def add(self, outcome: Outcome) -> None:
        """Append an outcome; it is on the disk when this returns."""
        line = line_of(outcome, self.fingerprint)
        append(self.stream, line, self.file, sync=True)
        reply = outcome.reply
        self.tally.count(reply is None, None if reply is None else reply.visual_tokens)


@contextmanager
def opened(
    file: Path, conditions: dict[str, Any], ids: Ids, facts: dict[str, Any] | None = None, retry: bool = False
) -> Iterator[Output]:
    """The locked output of a run; a new one if there is none.

    Args:
        file: the output.
        conditions: all that an answer depends on beside its row.
        ids: the ids of the input, each with its row's digest as a number.
        facts: more to record about a new run.
        retry: take rows with errors out, so that they are answered again.

    Raises:
        InvalidValueError: the file belongs to other settings or rows, is open in another run, or is damaged.
        OutputError: nothing can be written there.
    """
    if os.path.lexists(file):
        with reading(file, OUTPUT):
            pass
    read_settings(file)  # one that no run wrote is never replaced
    stream = _open_locked(file)
    try:
        output = Output(file=file, fingerprint=digest_of(conditions), stream=stream)
        end = _take_in(output, conditions, ids, retry)
        if retry and end.failed:
            output.stream = _without_failed(output, end.bytes)
            stream.close()
        else:
            stream.truncate(end.bytes)
        output.stream.seek(0, os.SEEK_END)
        if not len(output.done):
            write_settings(file, conditions, facts or {})
        yield output
    finally:
        stream.close()
        output.stream.close()


@dataclass(frozen=True, kw_only=True)
class _End:
    """Where the finished lines of an output end.

    Attributes:
        bytes: their number of bytes.
        failed: errors among them that are to be taken out.
    """

    bytes: int
    failed: int


def _take_in(output: Output, conditions: dict[str, Any], ids: Ids, retry: bool) -> _End:
    """Count the rows of a file that is there, and check that they belong to the run."""
    end, taken_out = 0, 0
    for number, line, each in _lines(output.stream, output.file):
        if each is None:
            break
        if each.fingerprint != output.fingerprint:
            raise InvalidValueError(difference(output.file, conditions))
        digest = ids.find(each.id)
        if digest is None or f"{digest:016x}" != each.digest:
            what = "which the input does not have" if digest is None else "whose fields are others in the input"
            raise InvalidValueError(
                f"Line {number} of {printable(output.file)} is about the row {printable(repr(each.id))}, {what}; give "
                "another --output, or the input that it was made from."
            )
        end += len(line)
        if retry and each.failed:
            taken_out += 1
            continue
        output.done.add(each.id)
        output.tally.count(each.failed, each.visual_tokens)
    output.done.freeze()
    if output.done.twice():
        raise InvalidValueError(
            f"{printable(output.file)} has two lines about one row, which no run writes; give another --output."
        )
    return _End(bytes=end, failed=taken_out)


def _lines(stream: BinaryIO, file: Path) -> Iterator[tuple[int, bytes, Finished | None]]:
    """(line number, line, what it says) of each line.

    For a last line that a kill cut off, what it says is None.
    """
    for number, line, values in read_output(stream, file):
        yield number, line, None if values is None else finished(values, number, file)


def _without_failed(output: Output, end: int) -> BinaryIO:
    """Write the file anew without the rows that failed.

    The new file is locked before it takes the name.
    """
    with atomic_path(output.file) as temporary:
        stream = _open_locked(temporary)
        for _, line, each in _lines(output.stream, output.file):
            if each is not None and not each.failed:
                append(stream, line.decode("utf-8").removesuffix("\n"), temporary)
    return stream


def _open_locked(file: Path) -> BinaryIO:
    """The file, open for appending.

    It is locked against other runs until it is closed or the process ends.
    """
    stream = open_locked(file, "--output")
    if not os.path.samestat(os.fstat(stream.fileno()), os.stat(file)):
        stream.close()
        raise InvalidValueError(
            f"{printable(file)} is being written by another run; wait for it, or give another --output."
        )
    return stream
