"""Jobs for the thread that owns the model, one after another.

Each can be given up at any time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from traceback import clear_frames

import torch

from todre.loading.model import Loaded
from todre.serve.answering import Outcome, Task, answer_task

Event = str | Outcome | BaseException
"""A piece of text, the end of the answer, or the end of the attempt."""
_LOG = logging.getLogger(__name__)


class Job:
    """One answer that waits for its turn, or runs.

    Read its events by `next_event`; `give_up` may be called at any time.

    Args:
        task: what to answer.
        stream: whether pieces of text are events.
        on_end: called on the loop once the job has ended, whether its events are read or not.
    """

    def __init__(self, task: Task, stream: bool, on_end: Callable[[], None]) -> None:
        self._task: Task | None = task
        self.stream, self._on_end = stream, on_end
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.given_up = threading.Event()

    async def next_event(self) -> str | Outcome:
        """The next piece of text, or the outcome, which is the last event.

        Raises what ended the attempt.
        """
        event = await self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def give_up(self) -> None:
        """End the answer after its next token, or before it begins; nobody reads it."""
        self.given_up.set()
        self._task = None

    def run(self, loaded: Loaded) -> None:
        """Answer on this thread; never raises."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            event: Event | None = answer_task(loaded, task, self._post if self.stream else None, self.given_up.is_set)
        except Exception as error:
            clear_frames(error.__traceback__)  # they hold the pictures, and nobody knows when the event is read
            event = error
        del task
        if event is not None and not self.given_up.is_set():
            self._post(event)

    def end(self) -> None:
        """Say that the job has ended."""
        call_soon(self._loop, self._on_end)

    def _post(self, event: Event) -> None:
        call_soon(self._loop, self._events.put_nowait, event)


class Engine:
    """The model, and the jobs that wait for it.

    Args:
        loaded: the model.
        submit: runs its argument on one thread, one call after another.
    """

    def __init__(self, loaded: Loaded, submit: Callable[[Callable[[], None]], None]) -> None:
        self.loaded = loaded
        self._submit = submit
        self._lock = threading.Lock()
        self._waiting: set[Job] = set()
        self._running: set[Job] = set()
        self._idle = threading.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Number of answers that are generated right now, 0 or 1."""
        return len(self._running)

    def start(self, task: Task, stream: bool, on_end: Callable[[], None]) -> Job:
        """Put an answer into the line; the arguments are those of `Job`."""
        job = Job(task, stream, on_end)
        with self._lock:
            self._waiting.add(job)
            self._idle.clear()
        self._submit(lambda: self._run(job))
        return job

    def stop(self, seconds: float = 10.0) -> None:
        """Give up every job, and wait until the model is idle."""
        with self._lock:
            jobs = (*self._waiting, *self._running)
        for job in jobs:
            job.give_up()
        if not self._idle.wait(seconds):
            _LOG.warning("An answer is still being generated %s seconds after the server was told to end.", seconds)

    def _run(self, job: Job) -> None:
        with self._lock:
            self._waiting.discard(job)
            self._running.add(job)
        try:
            job.run(self.loaded)
        except BaseException:  # the thread must outlive whatever a job does
            _LOG.exception("A job ended with an error that it did not report.")
        finally:
            with self._lock:
                self._running.discard(job)
                if not self._waiting and not self._running:
                    self._idle.set()
            job.end()


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    """Call on a loop from any thread.

    A loop that is closed, as the server has ended, is left alone.
    """
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an answer did not fit into the memory that is left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError)
