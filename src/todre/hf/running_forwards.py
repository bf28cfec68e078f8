"""Forwards under way, so that nothing is taken away from a model while one of them relies on it."""

from __future__ import annotations

import threading

from todre.hf.wrappers import no_compile


class RunningForwards:
    """Counts the forwards under way in each thread, until `close` lets no more in.

    Attributes:
        open: whether new forwards join. One that does not runs as if nobody was there.
    """

    def __init__(self) -> None:
        self.open = True
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}

    @no_compile
    def join(self) -> bool:
        """A forward of this thread, or a part of one, begins; whether it joins, and then has to `leave`."""
        thread = threading.get_ident()
        with self._changed:
            if not self.open and thread not in self._depths:
                return False
            self._depths[thread] = self._depths.get(thread, 0) + 1
        return True

    @no_compile
    def leave(self) -> None:
        """It has ended."""
        thread = threading.get_ident()
        with self._changed:
            self._depths[thread] -= 1
            if not self._depths[thread]:
                del self._depths[thread]
                self._changed.notify_all()

    @property
    def joined(self) -> bool:
        """Whether a forward of this thread is under way."""
        return threading.get_ident() in self._depths

    def close(self) -> None:
        """Let no more forwards in, and wait until those of other threads have ended."""
        thread = threading.get_ident()
        with self._changed:
            self.open = False
            self._changed.wait_for(lambda: not self._depths.keys() - {thread})
