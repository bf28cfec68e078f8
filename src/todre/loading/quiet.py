"""Keep what libraries log about a call of ours from the user: it is said in one sentence, or is not theirs to read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Mute(logging.Filter):
    """Stops records of some loggers that come from one thread."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names, self.thread = names, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes on to the handler."""
        return record.thread != self.thread or record.name.partition(".")[0] not in self.names


@contextmanager
def hushed(*names: str) -> Iterator[None]:
    """Inside the block, what this thread logs to these libraries' loggers reaches no handler.

    No level is changed, so other threads, and records of other libraries, are heard as ever.

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
