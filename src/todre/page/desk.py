"""The desk at which one visitor at a time gets the model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Give = Callable[[Any], None]
"""Called by the work with each piece that the visitor is to see."""
Ended = Callable[[], bool]
"""Asked by the work whether the visitor still waits."""


@dataclass(frozen=True)
class _Failed:
    """What the work raised."""

    error: Exception


class _End:
    """The work is over."""


class Desk:
    """Lends the one model to one visitor at a time, and ends what nobody waits for."""

    def __init__(self) -> None:
        self._model = threading.Lock()
        self._lists = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}

    def serve(self, visitor: str, work: Callable[[Give, Ended], None]) -> Iterator[Any]:
        """Yield what `work` gives, as it comes, while no other work has the model.

        A visitor has one request at a time: a new one ends the one before. The work runs on a thread of its own, so
        that the visitor can be told what comes and can end it.

        Args:
            visitor: tells visitors apart.
            work: given what to call with each piece, and what to ask whether to go on.

        Raises:
            Exception: what the work raised.
        """
        ended = self._begin(visitor)
        given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(work, given, ended), daemon=True).start()
        try:
            while not isinstance(one := given.get(), _End):
                if isinstance(one, _Failed):
                    raise one.error
                yield one
        finally:
            ended.set()
            with self._lists:
                if self._waiting.get(visitor) is ended:
                    del self._waiting[visitor]

    def stop(self, visitor: str) -> bool:
        """End what the visitor waits for; returns whether there was anything."""
        with self._lists:
            ended = self._waiting.get(visitor)
        if ended is None:
            return False
        ended.set()
        return True

    def _begin(self, visitor: str) -> threading.Event:
        ended = threading.Event()
        with self._lists:
            earlier, self._waiting[visitor] = self._waiting.get(visitor), ended
        if earlier is not None:
            earlier.set()
        return ended

    def _run(self, work: Callable[[Give, Ended], None], given: queue.SimpleQueue[Any], ended: threading.Event) -> None:
        try:
            with self._model:
                if not ended.is_set():
                    work(given.put, ended.is_set)
        except Exception as error:
            given.put(_Failed(error))
        finally:
            given.put(_End())
