"""The method of a request: the server's, with what the request changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

from todre.errors import InvalidValueError, UnknownMethodError, UnsupportedInputError
from todre.fields import fitted
from todre.fields.words import short_repr
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget, SelectRetain
from todre.methods.base import Method, Per
from todre.methods.guard import OFF, Guard, GuardName
from todre.methods.method_checks import check_prunes
from todre.serve.refusals import RefusedError, check_known

_SETTINGS = ("method", "retain", "per", "guard")


@dataclass(frozen=True, kw_only=True)
class MethodChoice:
    """Methods that requests can ask for.

    Attributes:
        method: the server's own.
        retain: the server's budget; None where the method has its own.
        per: what the server's budget is for; None where the method has its own.
        seed: of methods that choose at random.
        guard: the server's own; None for nothing.
    """

    method: Method
    retain: float | AutoBudget | None = None
    per: str | None = None
    seed: int = 0
    guard: Guard | None = None

    def of(self, wishes: dict[str, Any]) -> Method:
        """The method for a request's field `todre`.

        A method is chosen by its registered name alone: no file of the server's machine is read for a client.

        Raises:
            RefusedError: a setting is unknown, or has a value that cannot be used.
        """
        check_known("todre", wishes, _SETTINGS, "todre")
        wishes = {name: value for name, value in wishes.items() if value is not None and name != "guard"}
        if not wishes:
            return self.method
        if type(wishes.get("retain")) is int and wishes["retain"] == 1:
            raise RefusedError(
                "todre.retain is 1, a count, and would keep one visual token; write 1.0 for all of them, or the "
                "method 'none'.",
                param="todre.retain",
            )
        try:
            return self._changed(wishes)
        except (InvalidValueError, UnknownMethodError, UnsupportedInputError) as error:
            raise RefusedError(str(error), param="todre") from error

    def guard_of(self, wishes: dict[str, Any], method: Method) -> Guard | None:
        """The guard for a request's field `todre`, at the server's thresholds.

        Args:
            wishes: the field; its `guard` is off, warn or refuse.
            method: what `of` gave.

        Raises:
            RefusedError: the word is none of these, or the guard cannot watch the method.
        """
        word = wishes.get("guard")
        try:
            guard = self.guard if word is None else self._acting(fitted("todre.guard", word, GuardName))
            return Guard.watching(guard or OFF, method)
        except InvalidValueError as error:
            raise RefusedError(str(error), param="todre.guard") from error

    def _acting(self, word: GuardName) -> Guard | None:
        """The server's guard with another action; the default one where it has none."""
        if word == OFF or self.guard is None:
            return Guard.of(word)
        return dataclasses.replace(self.guard, action=word, floor=self.guard.floor if word == "refuse" else None)

    def _changed(self, wishes: dict[str, Any]) -> Method:
        settings: dict[str, Any] = {name: wishes[name] for name in ("retain", "per") if name in wishes}
        if "retain" in settings:
            settings["retain"] = fitted("todre.retain", settings["retain"], SelectRetain)
        if "per" in settings and settings["per"] not in get_args(Per):
            raise InvalidValueError(
                f"todre.per must be one of {', '.join(get_args(Per))}, not {short_repr(settings['per'])}."
            )
        if "method" not in wishes:
            names = [field.name for field in dataclasses.fields(self.method)]
            _check_taken(self.method.name, settings, names)
            return dataclasses.replace(self.method, **settings)
        entry = registry.entry(wishes["method"])
        if entry.name not in registry.names():
            raise InvalidValueError(f"todre.method {entry.name!r} is made of others, which a request cannot name.")
        _check_taken(entry.name, settings, entry.settings)
        own = {"seed": self.seed, "retain": self.retain, "per": self.per}
        own = {name: value for name, value in own.items() if name in entry.settings and value is not None}
        method = entry.create(**{**own, **settings})
        check_prunes(method)
        return method


def _check_taken(name: str, settings: dict[str, Any], known: Any) -> None:
    """Raise if a setting would change nothing."""
    idle = next((each for each in settings if each not in known or (name == "none" and each == "retain")), None)
    if idle is not None:
        raise InvalidValueError(f"todre.{idle} would change nothing, because {name} has no {idle}; leave it out.")
