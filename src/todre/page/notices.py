"""Warnings as notes for the visitor whose work gave them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence beside the results."""

    text: str


class Notices:
    """Passes todre's warnings on to whoever waits for them on their thread.

    Python shows the warnings of all threads in one way. That is replaced once, for as long as the page runs.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._heard = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear the warnings of all threads inside the block.

        Warnings of libraries, and of threads on which nobody waits, are shown as before.
        """
        with warnings.catch_warnings():
            before = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
                tell = getattr(self._here, "tell", None)
                if tell is not None and category.__module__.partition(".")[0] == "todre":
                    tell(str(message))
                else:
                    before(message, category, *place, **more)

            warnings.showwarning = show
            self._heard = True
            try:
                yield
            finally:
                self._heard = False

    @contextmanager
    def to(self, give: Callable[[Any], None]) -> Iterator[None]:
        """Give todre's warnings of this thread inside the block as notes, each once.

        The block must begin and end on one thread, so no generator may yield in it.

        Args:
            give: called with each `Note`.
        """
        said: set[str] = set()

        def tell(text: str) -> None:
            if text not in said:
                said.add(text)
                give(Note(text=text))

        earlier = getattr(self._here, "tell", None)
        self._here.tell = tell
        if self._heard:  # anew each time: the end of another thread's block may have brought back older filters
            warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            self._here.tell = earlier
