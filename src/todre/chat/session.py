"""A chat without a terminal: what was said, what goes with the next question."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from todre.chat.answering import Length, Reply, reply
from todre.chat.conversation import Exchange, Picture, Turn
from todre.chat.lines import Command, paths_of
from todre.errors import InvalidValueError
from todre.fields import fitted
from todre.fields.kinds import Retain
from todre.fields.texts import number_of
from todre.files import printable
from todre.files.locations import label_of
from todre.inputs import Reading, named_pictures, open_picture
from todre.loading.model import Loaded
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.guard import OFF, Guard, GuardName

FILE = ".json"
Budget = float | AutoBudget
MakeMethod = Callable[[str, Budget | None], Method]
"""Function of (name or JSON file, budget or None) that makes a method."""


class Session:
    """A conversation with a model, and how it is pruned.

    Args:
        loaded: model and processor.
        make_method: makes a method from its name and a budget.
        method: name of the method to begin with, or its JSON file.
        retain: budget to begin with; None for the method's own.
        length: how long answers may be.
        reading: how the names of pictures are read; None reads files alone.
        guard: looks at each picture before the LLM runs, see `todre.prune`.

    Raises:
        InvalidValueError: the guard cannot watch the method.
    """

    def __init__(
        self,
        loaded: Loaded,
        make_method: MakeMethod,
        method: str,
        retain: Budget | None,
        length: Length,
        reading: Reading | None = None,
        guard: Guard | GuardName = OFF,
    ) -> None:
        self.loaded, self.length = loaded, length
        self.guard = Guard.of(guard)
        self.reading = reading or Reading()
        self._make_method = make_method
        self._name, self._retain = method, retain
        self._method = self._made(method, self._budget(method, retain))
        self.earlier: tuple[Exchange, ...] = ()
        self.pictures: tuple[Picture, ...] = ()
        self.last: Reply | None = None

    def add_pictures(self, paths: Sequence[str]) -> str:
        """Let pictures go with the next question; returns what to say about them.

        All are added, or none.

        Raises:
            ImageError: a file cannot be read as a picture.
        """
        names = named_pictures([os.path.expanduser(path) for path in paths])
        read = tuple(Picture(label_of(name), open_picture(name, self.reading)) for name in names)
        self.pictures += read
        named = ", ".join(f"{printable(picture.name)} ({picture.size})" for picture in read)
        return f"{named} {'goes' if len(read) == 1 else 'go'} with the next question"

    def answer(
        self,
        text: str,
        on_text: Callable[[str], None] = lambda piece: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Answer a question, with the pictures that wait for it.

        A question that fails, or that is stopped before its first text, is not part of the conversation, and its
        pictures wait on.

        Args:
            text: the question.
            on_text: called with each piece of text as soon as it is certain.
            stopped: asked after each token; True ends the answer, which stays as far as it came.

        Raises:
            TodreError: see `todre.chat.answering.reply`.
        """
        turn = Turn(self.pictures, text)
        found = reply(self.loaded, self.earlier, turn, self._method, self.length, on_text, stopped, self.guard)
        if found.text or not found.stopped:
            self.earlier += (Exchange(turn, found.text),)
            self.pictures, self.last = (), found
        return found

    def obey(self, command: Command) -> str:
        """Obey a command that changes the session; returns what to say about it.

        Raises:
            InvalidValueError: the command's argument cannot be used, or is missing, or there should be none.
            UnknownMethodError: no such method.
        """
        if command.name in ("/drop", "/reset") and command.rest:
            raise InvalidValueError(f"{command.name} takes nothing behind it; leave {printable(command.rest)} out.")
        if command.name == "/picture":
            return self._picture(command.rest)
        if command.name == "/drop":
            return self._drop()
        if command.name == "/reset":
            self.earlier, self.pictures, self.last = (), (), None
            return "the conversation is forgotten"
        if command.rest:
            (self._set_retain if command.name == "/retain" else self._set_method)(command.rest)
        return self.describe()

    def describe(self) -> str:
        """The method and its budget, in a few words."""
        budget = getattr(self._method, "retain", None)
        if budget is not None:
            return f"{printable(self._name)}, retain {budget}"
        rests = "" if self._retain is None else f"; it has no budget, so {self._retain} is for another method"
        return f"{printable(self._name)}{rests}"

    def _picture(self, rest: str) -> str:
        paths = paths_of(rest)
        if not paths:
            raise InvalidValueError("/picture needs a path behind it, such as /picture photo.png.")
        return self.add_pictures(paths)

    def _drop(self) -> str:
        names = [printable(picture.name) for picture in self.pictures]
        self.pictures = ()
        return f"{', '.join(names)} dropped" if names else "no picture waits for the next question"

    def _set_retain(self, text: str) -> None:
        retain = parse_retain(text)
        if self._budget(self._name, retain) is None:
            raise InvalidValueError(
                f"{printable(self._name)} has no budget that /retain could change; choose another method with /method."
            )
        self._method, self._retain = self._made(self._name, retain), retain

    def _set_method(self, name: str) -> None:
        if not name.endswith(FILE):
            name = registry.entry(name).name
        self._method, self._name = self._made(name, self._budget(name, self._retain)), name

    def _made(self, name: str, retain: Budget | None) -> Method:
        """The method, which the guard can watch."""
        method = self._make_method(name, retain)
        Guard.watching(self.guard or OFF, method)
        return method

    @staticmethod
    def _budget(name: str, retain: Budget | None) -> Budget | None:
        """The budget, if the method takes one from outside."""
        taken = not name.endswith(FILE) and name != "none" and "retain" in registry.entry(name).settings
        return retain if taken else None


def parse_retain(text: str) -> Budget:
    """Parse a budget: a whole number counts tokens, others are shares in (0, 1].

    The word `auto` begins automatic budgets.

    Raises:
        InvalidValueError: the text is no number, or the budget cannot be used.
    """
    automatic = AutoBudget.of_plain(text)
    if automatic is not None:
        return automatic
    value = number_of(text)
    if value is None:
        raise InvalidValueError(
            f"{printable(text)} is not a number; give a share such as /retain 0.25, or a count such as /retain 288."
        )
    found: float = fitted("/retain", value, Retain)
    return found
