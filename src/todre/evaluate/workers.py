"""Work on tasks in this process or in several, which end when their parent does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from todre.errors import TodreError

TaskT = TypeVar("TaskT")
Work = Callable[[Any], Any]

_SINGLE = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "2147483648",
}
"""Environment of workers: one thread, no progress bars, and freed memory kept.

Otherwise glibc returns the memory of each large tensor to the system, which costs much time.
"""


class Queue(Generic[TaskT]):
    """A queue that keeps each process on the group that the process has in memory.

    Args:
        tasks: the tasks to do; each belongs to a group.
        group_of: returns a task's group.
        skip: returns whether a task is no longer wanted.
    """

    def __init__(self, tasks: Sequence[TaskT], group_of: Callable[[TaskT], int], skip: Callable[[TaskT], bool]) -> None:
        self._waiting: dict[int, list[TaskT]] = {}
        for task in tasks:
            self._waiting.setdefault(group_of(task), []).append(task)
        self._begun: set[int] = set()
        self._group_of, self._skip = group_of, skip

    def take(self, last: TaskT | None) -> TaskT | None:
        """The next task for a process, from the group of its last task if any is left.

        Otherwise the task comes from a group that no process has begun, or from the group with most tasks left.
        """
        while self._waiting:
            group = self._choose(None if last is None else self._group_of(last))
            self._begun.add(group)
            task = self._waiting[group].pop(0)
            if not self._waiting[group]:
                del self._waiting[group]
            if not self._skip(task):
                return task
        return None

    def _choose(self, own: int | None) -> int:
        if own in self._waiting:
            return own
        fresh = [group for group in self._waiting if group not in self._begun]
        return fresh[0] if fresh else max(self._waiting, key=lambda group: len(self._waiting[group]))


def inline(start: Callable[[], Work], queue: Queue[TaskT]) -> Generator[Any, None, None]:
    """Results of the queue's tasks, computed in this process."""
    work = last = None
    while (task := queue.take(last)) is not None:
        work, last = work or start(), task
        yield work(task)


def parallel(start: Callable[[], Work], queue: Queue[TaskT], processes: int) -> Generator[Any, None, None]:
    """Results of the queue's tasks from several processes, in the order of completion.

    Args:
        start: makes the function that does a task, once in each process; it is pickled.
        queue: the tasks.
        processes: number of processes, with one thread each.

    Raises:
        TodreError: a process raised this error, or was ended from outside.
    """
    with _started(start, processes) as lines:
        last: dict[Connection, TaskT | None] = dict.fromkeys(lines)
        busy = [line for line in lines if _give(line, queue, last)]
        while busy:
            for line in [each for each in wait(busy) if isinstance(each, Connection)]:
                result = _receive(line)
                if not _give(line, queue, last):
                    busy.remove(line)
                yield result


@contextmanager
def _started(start: Callable[[], Work], processes: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in _SINGLE}
    os.environ.update({name: os.environ.get(name, value) for name, value in _SINGLE.items()})
    lines, children = [], []
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe()
            child = context.Process(target=_serve, args=(theirs, start), daemon=True)
            with no_interrupts():
                child.start()
            theirs.close()  # so that a child's end is seen here, and ours there
            lines.append(ours)
            children.append(child)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
        yield lines
    finally:
        for line in lines:
            line.close()
        for child in children:
            child.terminate()
            child.join()


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from processes started inside the block.

    The terminal sends Ctrl-C to every process; the parent process ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ended_normally() -> Iterator[None]:
    """Let SIGTERM end a worker as if its work was done, anywhere in the block.

    It then exits in the normal way, so that resources of libraries, such as the semaphore behind their progress bars,
    are released without a warning. Behind the block the process is ending already: a SIGTERM that comes later is
    ignored, since what is raised while Python closes would be printed.
    """
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def _serve(line: Connection, start: Callable[[], Work]) -> None:
    """Serve tasks from `line` until its other end is gone or a signal comes."""
    work = None
    with ended_normally(), suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while True:
            task = line.recv()
            try:
                work = work or start()
                line.send((None, work(task)))
            except TodreError as error:
                line.send((error, None))


def _give(line: Connection, queue: Queue[Any], last: dict[Connection, Any]) -> bool:
    """Send the next task; returns False if no task is left."""
    task = queue.take(last[line])
    if task is None:
        return False
    last[line] = task
    line.send(task)
    return True


def _receive(line: Connection) -> Any:
    try:
        error, result = line.recv()
    except (EOFError, ConnectionResetError):
        raise TodreError(
            "A process that answered questions was ended from outside, perhaps for want of memory; run the same "
            "command again to go on, with fewer --processes."
        ) from None
    if error is not None:
        raise error
    return result
