"""Handling of Ctrl-C: never lost, and answered with one line wherever it arrives."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Stops:
    """A block in which Ctrl-C stops an answer, or the line that is being typed.

    Inside `listening`, the first Ctrl-C asks the answer to stop by itself, so that the model is never left in the
    middle of a step; a second one, and any outside of it, raises KeyboardInterrupt, which the block's user catches.

    Args:
        active: whether Ctrl-C is listened to at all; if not, it ends the command as everywhere.
    """

    def __init__(self, active: bool) -> None:
        self._active = active
        self._answering = self._asked = False
        self._before: Any = None

    def __enter__(self) -> Stops:
        if self._active and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            try:
                self._before = signal.signal(signal.SIGINT, self._pressed)
            except ValueError:
                self._before = None  # not the main thread, which alone is told of signals
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def listening(self) -> Iterator[Callable[[], bool]]:
        """Yield a function that says whether the answer of this block should stop."""
        self._answering, self._asked = True, False
        try:
            yield lambda: self._asked
        finally:
            self._answering = False

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self._answering and not self._asked:
            self._asked = True
            return
        raise KeyboardInterrupt
