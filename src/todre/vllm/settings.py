"""What is asked: a server's settings, and the budget of a request.

A server's settings are `todre` in the model's config (`--hf-overrides`), which is all that both vLLM's processors and
its models see. A request's budget is `todre_retain` among its `mm_processor_kwargs`. Nothing here imports vLLM.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from todre.errors import InvalidValueError
from todre.fields import Checked, fitted, short_repr
from todre.fields.kinds import Count, Retain
from todre.methods.base import Method, budget
from todre.methods.shared.names import check_names

PREFIX = "todre_"
"""Beginning of the names of arguments that are meant for todre."""
RETAIN = "todre_retain"
"""Name of a request's budget."""
ALL = "all"
"""The budget that keeps all, for clients whose language writes 1.0 as 1."""


@dataclass(frozen=True)
class ServerSettings(Checked):
    """What a server prunes with.

    Args:
        method: name of a method that can be served; see `todre.vllm.served_methods`.
        retain: the budget of pictures whose request names none, a share of each picture's tokens or a count.
        max_retain: the largest budget that a request may ask for; the scheduler reserves this much for a picture.
        options: further settings of the method.
        tower_tokens: most tokens that the vision tower is given at once, at least one picture's. The scheduler counts
            kept tokens, so it would let more pictures in than without pruning.
    """

    method: str = "todre"
    retain: Retain = 0.1
    max_retain: Retain = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    tower_tokens: Count = 32768

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.max_retain
        if most == 1 and isinstance(most, int):
            raise InvalidValueError("max_retain=1 is a single token; write 1.0 for all, or another share or count.")
        if isinstance(most, int) == isinstance(self.retain, int) and self.retain > most:
            raise InvalidValueError(
                f"retain={self.retain:g} is more than max_retain={most:g}, so that every request would be refused; "
                "raise max_retain, or lower retain."
            )

    @classmethod
    def of(cls, config: Any) -> ServerSettings:
        """The settings in a model's config.

        Raises:
            InvalidValueError: a setting is unknown, or has a value that cannot be used.
        """
        given = fitted("'todre' in --hf-overrides", getattr(config, "todre", None) or {}, dict)
        check_names(
            "'todre' in --hf-overrides", "setting", list(given), [each.name for each in dataclasses.fields(cls)]
        )
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}

    def requested(self, arguments: Mapping[str, object]) -> float:
        """The budget of a request: a share as a float, or a count as an int.

        Args:
            arguments: the request's `mm_processor_kwargs`.

        Raises:
            InvalidValueError: the budget cannot be used, or an argument begins with `todre_` and is unknown.
        """
        check_names("A request", "argument", [name for name in arguments if name.startswith(PREFIX)], [RETAIN])
        check_not_nested(arguments)
        value = arguments.get(RETAIN, self.retain)
        if value == ALL:
            return 1.0
        if RETAIN in arguments and value == 1 and isinstance(value, int):
            raise InvalidValueError(
                f"{RETAIN}=1 would keep a single token; give {ALL!r} or 1.0 to keep all, or another share or count."
            )
        retain: float = fitted(RETAIN, value, Retain)
        return retain

    def kept(self, method: Method, retain: float, entries: list[int]) -> int:
        """Number of tokens that a picture keeps.

        Args:
            method: the method with the budget `retain`.
            retain: a request's budget.
            entries: tokens of each of the picture's entries; each has a budget of its own.

        Raises:
            InvalidValueError: it is more than the server allows.
        """
        count = sum(n if is_all(retain) else _count(method, n) for n in entries)
        most = sum(budget(self.max_retain, n) for n in entries)
        if count > most:
            raise InvalidValueError(
                f"{RETAIN}={short_repr(retain)} keeps {count} of {sum(entries)} visual tokens, and this server allows "
                f"{most} (max_retain={self.max_retain}); ask for less, or start the server with a larger max_retain."
            )
        return count

    def identity(self, retain: float) -> dict[str, object]:
        """What kept tokens depend on beside pixels, for hashes that outlive a server."""
        from todre import __version__

        options = repr(sorted(self.options.items()))
        return {"todre": f"{__version__} {self.method} {retain!r} {options}"}


def check_not_nested(arguments: Mapping[str, object]) -> None:
    """Check that no argument for todre stands among those of one modality.

    Raises:
        InvalidValueError: one does, where nobody would read it.
    """
    for name, value in arguments.items():
        inner = [key for key in value if str(key).startswith(PREFIX)] if isinstance(value, Mapping) else []
        if inner:
            raise InvalidValueError(f"{inner[0]} stands within {name!r}, where nobody reads it; give it beside that.")


def is_all(retain: float) -> bool:
    """True if a budget keeps everything: the share 1.0."""
    return isinstance(retain, float) and retain == 1.0


def without_own(arguments: Mapping[str, object]) -> dict[str, object]:
    """A request's arguments without those that are meant for todre."""
    return {name: value for name, value in arguments.items() if not name.startswith(PREFIX)}


def _count(method: Method, n: int) -> int:
    count = method.kept_of(n)
    assert count is not None  # methods without a count are refused at startup
    return count
