"""The contract between a method (one paper) and the runtime (everything else).

A method is a frozen dataclass whose fields are its hyper-parameters. It may select visual tokens before the LLM,
reduce them inside it, or both. The runtime does caches, masks, positions and batches.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from todre.errors import InvalidValueError
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.facts import Signal
    from todre.merging import Merging, Patches, TowerContext
    from todre.reduction import Parked, ReduceContext, Reduction
    from todre.selection import Selection, VisualTokens
    from todre.tiles import Tiles

Positions = Literal["original", "compact"]
Per = Literal["sample", "image", "clip", "frame"]
MethodT = TypeVar("MethodT", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods; on its own it keeps every visual token.

    Args:
        positions: `original` keeps the survivors' position ids (what grounding needs); `compact` renumbers them, as
            for a prompt that never had the dropped tokens.
        per: what a budget is for: all visual tokens of a sample together, each picture and each clip (`image` and
            `clip` mean the same), or each frame of a clip and each picture.
    """

    positions: Positions = "original"
    per: Per = "sample"

    name: ClassVar[str] = "method"
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    card: ClassVar[Card] = Card()
    reads_attention: ClassVar[bool] = True
    reads_inputs: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("positions", self.positions, ("original", "compact"))
        check_choice("per", self.per, ("sample", "image", "clip", "frame"))

    @property
    def selects(self) -> bool:
        """Whether the method chooses tokens before the LLM."""
        return False

    def selectors(self) -> tuple[Method, ...]:
        """The methods that choose before the LLM, in order: itself, or none; several where methods are composed."""
        return (self,) if self.selects else ()

    def signals(self) -> tuple[Signal, ...]:
        """What `select` wants to see of the vision tower; the first of one number per token is `visual.saliency`."""
        return ()

    def select(self, visual: VisualTokens) -> Tensor | Selection:
        """Choose visual tokens of one sample before the LLM: (n,) bool, True to keep; a `Selection` to merge.

        Or (k,) int64, the places of what is kept, distinct and ascending. How many are kept is then known without
        waiting for the device, as it is where `kept_of` says so; otherwise they have to be counted.
        """
        raise NotImplementedError(f"{type(self).__name__} does not select")

    def kept_of(self, n: int) -> int | None:
        """How many of any `n` visual tokens `select` keeps, if it is sure before it looks at them: `exact` is set."""
        retain = getattr(self, "retain", None)
        return budget(retain, n) if self.exact and retain is not None else None

    @property
    def in_tower(self) -> bool:
        """Whether the method acts in or before the vision tower, so that pictures are encoded otherwise."""
        return "tower" in self.card.acts

    def tower(self) -> Method | None:
        """The method that acts in or before the vision tower: itself, or none; one of several that are composed."""
        return self if self.in_tower else None

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of vision tower layers run (1-based, ascending) after which `merge` is asked."""
        return ()

    def merge(self, context: TowerContext) -> Merging:
        """Which tokens of a tile go on to the later layers of the vision tower, and what goes into what."""
        raise NotImplementedError(f"{type(self).__name__} does not merge in the vision tower")

    def leave_out(self, patches: Patches) -> Tensor:
        """(u,) int64, the unit whose value each unit takes, itself if kept; for methods that act before the tower."""
        raise NotImplementedError(f"{type(self).__name__} leaves nothing out before the vision tower")

    def choose_tiles(self, tiles: Tiles) -> Tensor:
        """(t,) bool, the tiles that the vision tower runs on, all thumbnails among them; asked before the tower."""
        raise NotImplementedError(f"{type(self).__name__} leaves out no tiles before the vision tower")

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of decoder layers run (1-based, ascending) after which `reduce` is asked."""
        return ()

    def reduce(self, context: ReduceContext) -> Reduction:
        """Choose the visual tokens that go on to the layers after `context.layer`."""
        raise NotImplementedError(f"{type(self).__name__} does not reduce")

    def reducers(self, n_layers: int) -> dict[int, tuple[Method, ...]]:
        """By count of layers run, the methods that are asked there, in order; several where methods are composed."""
        return dict.fromkeys(self.reduce_after(n_layers), (self,))

    def rejoin_before(self, n_layers: int) -> tuple[int, ...]:
        """Layers (1-based, ascending) before which the tokens that a reduction parked come back."""
        return ()

    def rejoin(self, parked: Parked) -> Tensor:
        """Hidden states of all columns that were in flight when tokens were parked, (b, q0, d)."""
        raise NotImplementedError(f"{type(self).__name__} parks no tokens")

    def to_dict(self) -> dict[str, Any]:
        """Name and every field, ready for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"method": self.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls: type[MethodT], values: dict[str, Any]) -> MethodT:
        """The inverse of `to_dict`."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known - {"method"})
        if unknown:
            raise InvalidValueError(
                f"{cls.__name__} has no field {unknown[0]!r}; its fields are {', '.join(sorted(known))}."
            )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**fields)

    def describe(self) -> str:
        """One line: the name and the fields."""
        fields = ", ".join(f"{k}={v!r}" for k, v in self.to_dict().items() if k != "method")
        return f"{self.name}({fields})"


@dataclass(frozen=True, kw_only=True)
class NoPruning(Method):
    """Keep every visual token: the baseline that all others are compared with."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no pruning: the model as it is"
    card: ClassVar[Card] = Card(budget="Everything is kept.")


@dataclass(frozen=True)
class Preset:
    """A method with other defaults under a name of its own; a module's `PRESETS` are registered.

    Attributes:
        name: of the preset.
        create: makes it.
        cls: the class of what is made.
        summary, paper: as a method has them.
        card: what it says of itself; that of `cls` if None.
        settings: what `create` takes by name; all fields of `cls` if None.
    """

    name: str
    create: Callable[..., Method]
    cls: type[Method]
    summary: str
    paper: str = ""
    card: Card | None = None
    settings: tuple[str, ...] | None = None


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidValueError(f"{field} must be one of {', '.join(choices)}, not {value!r}.")


def check_retain(retain: object) -> None:
    """Raise unless `retain` is a fraction in (0, 1] (a float) or a count of at least 1 (an int)."""
    hint = "give a fraction in (0, 1] such as 0.1, or a whole number of tokens such as 288."
    if isinstance(retain, bool) or not isinstance(retain, numbers.Real):
        raise InvalidValueError(f"retain must be a number, not {retain!r}; {hint}")
    if isinstance(retain, numbers.Integral):
        if retain < 1:
            raise InvalidValueError(f"retain must keep at least one token, not {int(retain)}; {hint}")
    elif math.isnan(float(retain)) or not 0.0 < float(retain) <= 1.0:
        raise InvalidValueError(f"retain as a fraction must lie in (0, 1], not {float(retain)}; {hint}")


def budget(retain: float, n: int) -> int:
    """How many of `n` visual tokens to keep: a count as it is, a fraction as max(1, round(retain * n)); at most n."""
    if isinstance(retain, numbers.Integral):
        return min(int(retain), n)
    return min(n, max(1, round(float(retain) * n)))


def check_seed(seed: object) -> None:
    """Raise unless `seed` is a whole number that a generator takes."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= int(seed) < 2**63:
        raise InvalidValueError(f"seed must be a whole number from 0 to 2**63 - 1, not {seed!r}.")
