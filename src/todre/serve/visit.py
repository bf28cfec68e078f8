"""One request's stay in the server, and what it holds meanwhile.

That is bytes, a slot for its pictures, and a place in the line. All of it is given back once, whatever ends the stay.
What a thread still works on stays held until the thread is done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from todre.serve.engine import Job, call_soon
from todre.serve.refusals import RefusedError

_T = TypeVar("_T")


class Room:
    """Bytes of bodies and fetched files that all requests together may hold.

    Args:
        most: bytes of all requests.
        most_each: bytes of one request.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self.most_each = most, most_each
        self._lock = threading.Lock()
        self.held = 0

    def change(self, size: int) -> None:
        """Hold `size` more bytes, or fewer if it is negative.

        Raises:
            RefusedError: there is no room.
        """
        with self._lock:
            if size > 0 and self.held + size > self._most:
                raise RefusedError(
                    f"The requests that are here hold {self.held:,} bytes, and at most {self._most:,} are held at a "
                    "time; try again later.",
                    status=503,
                    code="overloaded",
                )
            self.held += size


class Share:
    """What one request holds of the room; any thread may take."""

    def __init__(self, room: Room) -> None:
        self._room, self._lock = room, threading.Lock()
        self.size = 0
        self.closed = False

    def take(self, size: int) -> None:
        """Hold `size` more bytes.

        Raises:
            RefusedError: there is no room, the request would hold too much, or nobody waits for its answer any more.
        """
        with self._lock:
            if self.closed:
                raise RefusedError("The client went away.", status=499)
            if self.size + size > self._room.most_each:
                raise RefusedError(
                    f"The request and the files of its pictures have more than {self._room.most_each:,} bytes; send "
                    "fewer or smaller pictures.",
                    status=413,
                )
            self._room.change(size)
            self.size += size

    def close(self) -> None:
        """Let nothing more be taken."""
        with self._lock:
            self.closed = True

    def give_back(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._room.change(-self.size)
            self.size = 0


class Visit:
    """One request from its arrival until it has left, once, whatever ends it.

    Args:
        arrived: when it came, by `time.monotonic`.
        room: what all requests hold.
        count: called with 1 as the request enters the line, and with -1 as it leaves that.
        ended: called with the status under which the request ended.
    """

    def __init__(self, arrived: float, room: Room, count: Callable[[int], None], ended: Callable[[int], None]) -> None:
        self.arrived, self._count, self._ended = arrived, count, ended
        self.share = Share(room)
        self.job: Job | None = None
        self._slot: asyncio.Semaphore | None = None
        self._entered = self._left = False
        self._works = 0

    def enter(self) -> None:
        """Count the request as one that is here."""
        self._entered = True
        self._count(1)

    async def prepare(self, slots: asyncio.Semaphore) -> None:
        """Wait until pictures may be decoded."""
        await slots.acquire()
        self._slot = slots

    async def work(self, pool: Executor, work: Callable[[], _T]) -> _T:
        """What `work` returns on a thread.

        Nothing is given back before the thread is done, whoever leaves.
        """
        loop, held = asyncio.get_running_loop(), [work]

        def done(_: object) -> None:
            held.clear()  # the pool keeps what was given up before it began
            call_soon(loop, self._worked)

        future = pool.submit(lambda: held.pop()())
        self._works += 1
        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    def answered(self) -> None:
        """Give back what was held for the answer, which is made.

        The client may take its time to read it.
        """
        self._leave_line()
        self._give_back()

    def leave(self, status: int) -> None:
        """Give up what still runs, and count how the request ended."""
        if self._left:
            return
        self._left = True
        self.share.close()
        if self.job is not None:
            self.job.give_up()
        self._leave_line()
        if not self._works:
            self._give_back()
        self._ended(status)

    def _worked(self) -> None:
        self._works -= 1
        if self._left and not self._works:
            self._give_back()

    def _leave_line(self) -> None:
        if self._entered:
            self._entered = False
            self._count(-1)

    def _give_back(self) -> None:
        self.share.give_back()
        if self._slot is not None:
            self._slot.release()
            self._slot = None
