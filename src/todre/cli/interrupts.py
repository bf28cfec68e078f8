"""Handling of Ctrl-C: never lost, and answered with one line wherever it arrives."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit code of an interrupted command."""
AGAIN = 0.25
"""Seconds after which a swallowed KeyboardInterrupt is raised again."""
PATIENCE = 1.0
"""Seconds after which a second Ctrl-C ends the process at once.

A second Ctrl-C before that counts as the first one.
"""


class Interrupts:
    """A block in which Ctrl-C raises KeyboardInterrupt until the block ends.

    One raise is not enough: a callback of a library, a `__del__` or an `except BaseException` can swallow it, and the
    work would go on to its end. So KeyboardInterrupt is raised again while nothing handles it.

    Attributes:
        came: whether Ctrl-C was pressed.
        reported: whether the user was told that the command was interrupted.
    """

    def __init__(self) -> None:
        self.came = self.reported = False
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._unraisable = sys.unraisablehook

    def __enter__(self) -> Interrupts:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored, as under nohup, it stays so
            self._listen(signal.SIGINT, self._pressed)
        sys.unraisablehook = self._unraisable_error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tick(0.0)
        sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deaf(self) -> None:
        """Ignore Ctrl-C from now on, even after the block, as the process is ending."""
        self._tick(0.0)
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._before.clear()

    def say(self) -> None:
        """Print `interrupted` on stderr, once."""
        self._tick(0.0)
        if not self.reported:
            self.reported = True
            try:
                os.write(2, b"interrupted\n") if sys.stderr is sys.__stderr__ else sys.stderr.write("interrupted\n")
            except OSError:
                return  # nobody reads it

    def _listen(self, number: signal.Signals, handler: Any) -> None:
        try:
            self._before[number] = signal.signal(number, handler)
        except ValueError:
            return  # not the main thread, which alone is told of signals

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.came:
            self.came, self._since = True, now
            self._tick(AGAIN)
            raise KeyboardInterrupt
        if now - self._since > PATIENCE:
            self.say()
            os._exit(INTERRUPTED)

    def _swallowed(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt again, unless one is being handled right now.

        A KeyboardInterrupt that passes through a `finally` counts as being handled.
        """
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                return
            error = error.__context__
        raise KeyboardInterrupt

    def _tick(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):
            if seconds:
                self._listen(signal.SIGALRM, self._swallowed)
            signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def _unraisable_error(self, unraisable: Any) -> None:
        """Keep Python from printing a KeyboardInterrupt that it ignores.

        The KeyboardInterrupt is raised again.
        """
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._unraisable(unraisable)
