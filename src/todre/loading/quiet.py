"""Keep libraries' log messages from the user while a call of ours runs.

Whatever matters in these messages reaches the user as an error or an announcement of ours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Mute(logging.Filter):
    """Drops one thread's records of some loggers."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names, self.thread = names, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that is to be dropped."""
        return record.thread != self.thread or record.name.partition(".")[0] not in self.names


@contextmanager
def mute_loggers(*names: str) -> Iterator[None]:
    """Inside the block, keep this thread's records of some loggers from all handlers.

    No level is changed, so other threads and other libraries log as before.

    Args:
        names: top-level loggers, such as "transformers".
    """
    mute = _Mute(names)
    handlers = [handler for name in ("", *names) for handler in logging.getLogger(name or None).handlers]
    for handler in handlers:
        handler.addFilter(mute)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(mute)
