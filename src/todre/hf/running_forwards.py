"""Forwards that are running, so that a patch is not removed under one of them."""

from __future__ import annotations

import threading

from todre.hf.wrappers import no_compile


class RunningForwards:
    """Counts the running forwards of each thread, until `close` refuses new ones.

    Attributes:
        open: True while new forwards may join. A forward that does not join runs unpruned.
    """

    def __init__(self) -> None:
        self.open = True
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}

    @no_compile
    def join(self) -> bool:
        """Count a forward, or a nested part of a forward; False if it may not join.

        Each `join` that returns True needs one `leave`.
        """
        thread = threading.get_ident()
        with self._changed:
            if not self.open and thread not in self._depths:
                return False
            self._depths[thread] = self._depths.get(thread, 0) + 1
        return True

    @no_compile
    def leave(self) -> None:
        """Count the end of a forward that joined."""
        thread = threading.get_ident()
        with self._changed:
            self._depths[thread] -= 1
            if not self._depths[thread]:
                del self._depths[thread]
                self._changed.notify_all()

    @property
    def active(self) -> bool:
        """True if a forward of this thread is running."""
        return threading.get_ident() in self._depths

    def close(self) -> None:
        """Refuse new forwards, and wait until those of other threads have ended.

        If the wait is interrupted, as by Ctrl-C, forwards are let in as before.
        """
        thread = threading.get_ident()
        with self._changed:
            self.open = False
            try:
                self._changed.wait_for(lambda: not self._depths.keys() - {thread})
            except BaseException:
                self.open = True
                raise
