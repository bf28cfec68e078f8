"""The guard: signals that foretell harm by pruning, and what follows.

The runtime looks at each picture before the LLM runs, once a method has chosen and before its answer is used.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from todre.errors import InvalidValueError
from todre.fields import Checked, Range, fitted
from todre.fields.kinds import Positive, Retain, Share
from todre.files import Kind, read_json, write_atomic
from todre.methods.base import Method, NoPruning
from todre.methods.shared.names import check_names

Action = Literal["warn", "refuse"]
GuardName = Literal["warn", "refuse", "off"]
OFF: Literal["off"] = "off"
"""The word for no guard."""
FILE = Kind("give a file that `todre analyze guard` wrote", most=2**16)
"""Description of a guard's file, for messages."""
Radius = Annotated[float, Range(least=0, most=2, called="a distance")]
"""One minus a cosine, in [0, 2]."""


@dataclass(frozen=True, kw_only=True)
class Guard(Checked):
    """Thresholds of the signals, and what to do with a picture above one of them.

    A signal whose threshold is None is not looked at. Newline tokens count in none of them.

    Args:
        action: `warn` gives one warning for each prefill, and prunes; `refuse` leaves the picture whole.
        radius: largest distance, 1 - cosine, from a dropped token to the nearest kept one of its picture.
        rank: largest effective rank of a picture's tokens, as a multiple of the number that is kept.
        text: largest share of a picture's tokens that hold thin strokes, as letters do (`VisualTokens.text_share`).
        entropy: largest entropy of the saliency that the method reads, as a share of that of equal saliency (H / ln n).
        floor: what `refuse` leaves of the picture, a share or a count; None leaves it whole.
    """

    action: Action = "warn"
    radius: Radius | None = 0.6
    rank: Positive | None = 1.0
    text: Share | None = 0.1
    entropy: Share | None = None
    floor: Retain | None = None

    def __post_init__(self) -> None:
        if self.radius is self.rank is self.text is self.entropy is None:
            raise InvalidValueError(
                "A Guard without radius, rank, text and entropy sees nothing; set one, or use guard='off'."
            )
        if self.floor is not None and self.action == "warn":
            raise InvalidValueError(
                f"Guard.floor={self.floor:g} would change nothing with action='warn'; leave it out, or use 'refuse'."
            )

    @classmethod
    def of(cls, value: Any) -> Guard | None:
        """The guard that a word names, or a guard as it is; None for `off`.

        Raises:
            InvalidValueError: the value is none of these.
        """
        if isinstance(value, Guard):
            return value
        action = fitted("guard", value, GuardName)
        return None if action == OFF else cls(action=action)

    @classmethod
    def watching(cls, value: Any, method: Method) -> Guard | None:
        """The guard that `of` gives, checked with the method it is to watch.

        Raises:
            InvalidValueError: as `of` and `check` say.
        """
        found = cls.of(value)
        if found is not None:
            found.check(method)
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Guard:
        """The guard that `to_dict` described.

        Raises:
            InvalidValueError: a field is unknown, or has a value that cannot be used.
        """
        check_names("Guard", "field", list(values), [field.name for field in dataclasses.fields(cls)])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return dataclasses.asdict(self)

    def check(self, method: Method) -> None:
        """Check that the guard can watch what `method` does.

        Raises:
            InvalidValueError: the method drops tokens, and not before the LLM; or the guard has a floor, and the method
                cannot be asked for it.
        """
        selectors = method.selectors()
        if not selectors and not isinstance(method, NoPruning):
            raise InvalidValueError(
                f"{method.name} does not choose before the LLM, where the guard looks; use a method that does, such as "
                "todre, or guard='off'."
            )
        if self.floor is not None and selectors and not (len(selectors) == 1 and hasattr(selectors[0], "retain")):
            raise InvalidValueError(
                f"Guard.floor={self.floor:g} needs one method with a budget that it can raise, which {method.name} is "
                "not; leave it out, so that a guarded picture stays whole."
            )


@dataclass(frozen=True, kw_only=True)
class GuardFinding:
    """What the guard saw in one picture.

    Attributes:
        picture: 0-based number of the picture or clip within its sample.
        tokens, kept: visual tokens of the picture, and how many the method kept of them.
        radius, rank, text, entropy: the signals, see `Guard`; None where one was not looked at or is not defined.
        above: names of the signals above their thresholds.
        left: visual tokens of the picture that entered the LLM.
    """

    picture: int
    tokens: int
    kept: int
    radius: float | None = None
    rank: float | None = None
    text: float | None = None
    entropy: float | None = None
    above: tuple[str, ...] = ()
    left: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return dataclasses.asdict(self) | {"above": list(self.above)}

    def words(self, guard: dict[str, Any]) -> str:
        """The signals above their thresholds, such as `radius 0.95 above 0.9`.

        Args:
            guard: the guard's fields.
        """
        return " and ".join(f"{name} {getattr(self, name):.3g} above {guard[name]:g}" for name in self.above)


def save(guard: Guard, path: Path) -> None:
    """Write a guard to a JSON file that `load` reads."""
    write_atomic(path, json.dumps(guard.to_dict(), indent=2) + "\n")


def load(path: Path) -> Guard:
    """Read a guard from a JSON file.

    Raises:
        InvalidValueError: there is no such file, or it describes no guard.
    """
    return Guard.from_dict(read_json(path, FILE))
