"""Several processes that answer rows, each with a model of its own.

A process has one row at a time. If it dies, its row becomes an error and another process takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from todre.batch.model_answers import cannot_start
from todre.batch.records import Backend, Failure, Outcome, Record, Work
from todre.errors import TodreError
from todre.evaluate.workers import ended_normally, no_interrupts

MOST_DEATHS = 3
"""Processes that may die one after another without an answer between them."""
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483648"}
"""Settings that make glibc keep freed memory.

Otherwise it returns the memory of each large tensor to the system.
"""


@dataclass
class _Worker:
    """A process, the line to it, and the record that it has."""

    process: Any
    line: Connection
    record: Record | None = None

    def give(self, record: Record) -> bool:
        """Send a record; False if the process is gone."""
        self.record = record
        try:
            self.line.send(record)
        except OSError:
            return False
        return True


def threads_each(processes: int) -> int:
    """Threads of each of several processes, which share the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


def in_processes(start: Callable[[], Work], processes: int) -> Backend:
    """A backend of several processes, whose outcomes come as they are done.

    Args:
        start: makes the row function, once in each process; it is sent there.
        processes: number of processes.
    """

    def answer(records: Iterable[Record]) -> Iterator[Outcome]:
        with _started(start, processes) as crew:
            yield from crew.answer(iter(records))

    return answer


class _Crew:
    """The processes of one run."""

    def __init__(self, start: Callable[[], Work], processes: int) -> None:
        self._start, self._processes, self._deaths = start, processes, 0
        self._context = multiprocessing.get_context("spawn")
        self.workers: list[_Worker] = []

    def answer(self, records: Iterator[Record]) -> Generator[Outcome, None, None]:
        """Outcomes of the records, as they are done; each process has one record."""
        for record in records:
            self._hire(record)
            if len(self.workers) == self._processes:
                break
        while self.workers:
            lines = {worker.line: worker for worker in self.workers}
            for line in wait(list(lines)):
                worker = lines[line]  # type: ignore[index]
                yield self._outcome(worker)
                further = next(records, None)
                if further is None:
                    self._dismiss(worker)
                elif worker not in self.workers or not worker.give(further):
                    self._dismiss(worker)
                    self._hire(further)

    def _hire(self, record: Record) -> None:
        """Start a process on a record."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._start), daemon=True)
        with no_interrupts():
            process.start()
        theirs.close()  # so that the process's end is seen here, and ours there
        worker = _Worker(process, ours)
        self.workers.append(worker)
        worker.give(record)

    def _dismiss(self, worker: _Worker) -> None:
        """End a process that has nothing to do, or is gone."""
        if worker in self.workers:
            self.workers.remove(worker)
        worker.line.close()
        worker.process.join(1)

    def _outcome(self, worker: _Worker) -> Outcome:
        """What became of a process's record."""
        try:
            error, outcome = worker.line.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if error is not None:
            raise error
        self._deaths = 0
        found: Outcome = outcome
        return found

    def _died(self, worker: _Worker) -> Outcome:
        """The outcome of the record of a process that died."""
        self._deaths += 1
        self._dismiss(worker)
        if self._deaths >= MOST_DEATHS or worker.record is None:
            raise TodreError(
                f"{self._deaths} processes were ended from outside one after another, perhaps for want of memory; run "
                "the same command again to go on, with fewer --processes."
            )
        how = f"exit code {worker.process.exitcode}"
        message = f"The process that had this row was ended from outside ({how}), perhaps for want of memory."
        return Outcome.of(worker.record, Failure(type="ProcessDied", message=message))


@contextmanager
def _started(start: Callable[[], Work], processes: int) -> Iterator[_Crew]:
    crew = _Crew(start, processes)
    wanted = {"OMP_NUM_THREADS": str(threads_each(processes)), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **_KEEPS_MEMORY}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield crew
    finally:
        for name in added:
            os.environ.pop(name, None)
        for worker in crew.workers:
            worker.line.close()
            worker.process.terminate()
        for worker in crew.workers:
            worker.process.join()


def _serve(line: Connection, start: Callable[[], Work]) -> None:
    """Answer records from `line` until its other end is gone."""
    work = None
    with ended_normally(), suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            record = line.recv()
            try:
                work = work or start()
            except Exception as error:
                line.send((cannot_start(error), None))
                return
            line.send((None, work(record)))
