"""Keep what libraries log about a call of ours from the user: it is said in one sentence, or is not theirs to read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Mute(logging.Filter):
    """Stops records of some loggers that come from one thread, and keeps their texts."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names, self.thread = names, threading.get_ident()
        self.kept: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes on to the handler."""
        ours = record.thread == self.thread and record.name.partition(".")[0] in self.names
        if ours and record.levelno >= logging.WARNING:
            self.kept.append(record.getMessage())
        return not ours


@contextmanager
def hushed(*names: str) -> Iterator[list[str]]:
    """Inside the block, what this thread logs to these libraries' loggers reaches no handler.

    No level is changed, so other threads, and records of other libraries, are heard as ever.

    Args:
        names: top-level loggers, such as "transformers".

    Yields:
        The warnings and errors that were held back, as they come.
    """
    mute = _Mute(names)
    handlers = [handler for name in ("", *names) for handler in logging.getLogger(name or None).handlers]
    for handler in handlers:
        handler.addFilter(mute)
    try:
        yield mute.kept
    finally:
        for handler in handlers:
            handler.removeFilter(mute)
