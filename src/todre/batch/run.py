"""One run: the rows that are not done yet go through a backend into the output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.batch.output import Output, Tally, opened
from todre.batch.records import Backend, Outcome, Record, Work
from todre.batch.seen import Ids
from todre.batch.sources import Source
from todre.errors import InvalidValueError
from todre.files import printable
from todre.files.readers import MOST_LINES

Watch = Callable[[Iterable[Outcome], int, int], Iterable[Outcome]]
"""Passes outcomes on and shows progress.

It is called with the outcomes, the rows done before, and the rows in all.
"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        rows: rows of the input.
        done_before: rows that the output held already.
        tally: counts of all rows of the output.
    """

    rows: int
    done_before: int
    tally: Tally

    def to_dict(self) -> dict[str, Any]:
        """The counts, ready for JSON."""
        counts = {"rows": self.rows, "done_before": self.done_before}
        counts |= {"answered": self.tally.answered, "failed": self.tally.failed}
        return counts | {"visual_tokens": {"before": self.tally.before, "after": self.tally.after}}


def run(
    source: Source,
    file: Path,
    conditions: dict[str, Any],
    backend: Backend,
    *,
    facts: dict[str, Any] | None = None,
    retry: bool = False,
    watch: Watch = lambda outcomes, before, rows: outcomes,
) -> Summary:
    """Answer the rows that `file` does not hold yet, and append them to it.

    Args:
        source: the rows.
        file: the output, JSON Lines.
        conditions: all that an answer depends on beside its row; an output of other conditions is refused.
        backend: answers records; it is not called if nothing is left to do.
        facts: more to record beside the output of a new run.
        retry: answer rows with an error again.
        watch: shows progress.

    Raises:
        InvalidValueError: two rows have one id, there are no rows, or the output belongs to another run.
        OutputError: the output cannot be written.
        TodreError: the backend cannot go on; what was done is in the output.
    """
    ids = checked_ids(source)
    with opened(file, conditions, ids, facts, retry) as output:
        before = len(output.done)
        if before < len(ids):
            with closing(_generator(backend(_pending(source, output)))) as outcomes:
                for outcome in watch(outcomes, before, len(ids)):
                    output.add(outcome)
        return Summary(rows=len(ids), done_before=before, tally=output.tally)


def checked_ids(source: Source) -> Ids:
    """The ids of all rows, each with its row's digest as a number.

    Raises:
        InvalidValueError: two rows have one id, a row has none that can be used, there are no rows, or too many.
    """
    ids = Ids()
    for record in source.records():
        ids.add(record.id, int(record.digest, 16))
        if len(ids) > MOST_LINES:
            raise InvalidValueError(
                f"{source.name} holds more than {MOST_LINES:,} rows, and an output holds no more; answer them in "
                "parts, each with an --output of its own."
            )
    if not len(ids):
        raise InvalidValueError(f"{source.name} holds no rows; there is nothing to answer.")
    ids.freeze()
    if ids.twice():
        raise InvalidValueError(f"{source.name} has the id {_repeated(source)} twice; give each row an id of its own.")
    return ids


def inline(start: Callable[[], Work]) -> Backend:
    """A backend that answers in this process, one row after another."""

    def answer(records: Iterable[Record]) -> Iterator[Outcome]:
        work = start()
        yield from map(work, records)

    return answer


def _pending(source: Source, output: Output) -> Iterator[Record]:
    """Records that the output does not hold yet."""
    return (record for record in source.records() if output.done.find(record.id) is None)


def _repeated(source: Source) -> str:
    """The first id that comes a second time, as messages show it."""
    seen: set[str] = set()
    for record in source.records():
        if record.id in seen:
            return printable(repr(record.id))
        seen.add(record.id)
    return "of a row"


def _generator(outcomes: Iterator[Outcome]) -> Generator[Outcome, None, None]:
    """The outcomes as a generator, whose `close` ends what makes them."""
    return (yield from outcomes)
