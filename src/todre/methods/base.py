"""The contract between a method (one paper) and the runtime (everything else).

A method is a frozen dataclass whose fields are its hyper-parameters. It may select visual tokens before the LLM,
reduce them inside it, or both. The runtime does caches, masks, positions and batches.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from todre.errors import InvalidValueError
from todre.fields import Checked, Range, fitted, shown
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ParkedView, ReduceContext, Reduction
    from todre.methods.views.vision_tower import Merging, Patches, Tiles, TowerContext
    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal

Positions = Literal["original", "compact"]
Per = Literal["sample", "image", "clip", "frame"]
MethodT = TypeVar("MethodT", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method(Checked):
    """Base of all methods; on its own it keeps every visual token.

    Every field is checked by its annotation, and made plain, before a class's own `__post_init__` runs.

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
    needs_methods: ClassVar[bool] = False

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
        places = tuple[Annotated[int, Range(least=1, most=n_layers)], ...]
        layers = fitted(f"{type(self).__name__}.reduce_after({n_layers})", self.reduce_after(n_layers), places)
        return dict.fromkeys(layers, (self,))

    def rejoin_before(self, n_layers: int) -> tuple[int, ...]:
        """Layers (1-based, ascending) before which the tokens that a reduction parked come back."""
        return ()

    def rejoin(self, parked: ParkedView) -> Tensor:
        """Hidden states of all columns that were in flight when tokens were parked, (b, q0, d)."""
        raise NotImplementedError(f"{type(self).__name__} parks no tokens")

    def to_dict(self) -> dict[str, Any]:
        """Name and every field, ready for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"method": self.name} | {name: _ready(value) for name, value in fields.items()}

    @classmethod
    def from_dict(cls: type[MethodT], values: dict[str, Any]) -> MethodT:
        """The inverse of `to_dict`.

        Raises:
            InvalidValueError: a field is none of the class's, is missing, or cannot be used.
        """
        fitted(f"What {cls.__name__} is made from", values, dict)
        if values.get("method", cls.name) != cls.name:
            raise InvalidValueError(f"{cls.__name__} is the method {cls.name!r}, not {shown(values['method'])}.")
        known = {each.name: each for each in dataclasses.fields(cls) if each.init}
        check_names(cls.__name__, "field", [name for name in values if name != "method"], list(known))
        needed = {name for name, each in known.items() if each.default is each.default_factory is dataclasses.MISSING}
        missing = sorted(needed - set(values))
        if missing:
            raise InvalidValueError(f"{cls.__name__} needs its field {missing[0]!r}, which is not given.")
        return cls(**{name: value for name, value in values.items() if name in known})

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


def check_method(method: Any) -> None:
    """Raise `InvalidValueError` unless `method` is a method."""
    if not isinstance(method, Method):
        raise InvalidValueError(
            f"method must be a method such as todre.ToDRE(retain=0.1), not {shown(method)}; "
            "by name: todre.methods.registry.create('todre', retain=0.1)."
        )


def budget(retain: float, n: int) -> int:
    """How many of `n` visual tokens to keep: a count as it is, a fraction as max(1, round(retain * n)); at most n."""
    if isinstance(retain, numbers.Integral):
        return min(int(retain), n)
    return min(n, max(1, round(float(retain) * n)))


def check_names(of: str, what: str, given: Sequence[Any], known: Sequence[str]) -> None:
    """Raise if one of the names `given` is none of those `known`; says which is close."""
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise InvalidValueError(
            f"{of} has no {what} {shown(unknown)}; {meant(unknown, known)}its {what}s are {', '.join(sorted(known))}."
        )


def meant(word: Any, known: Iterable[str]) -> str:
    """The beginning of a hint: which of the `known` words was probably meant, if any."""
    spelt = {each.lower().replace("_", "-"): each for each in known}
    text = word[:100].lower().replace("_", "-") if isinstance(word, str) else ""
    close = [spelt[each] for each in difflib.get_close_matches(text, spelt, n=3)]
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""


def _ready(value: Any) -> Any:
    """A field's value as JSON holds it."""
    if isinstance(value, tuple):
        return [_ready(each) for each in value]
    return value.value if isinstance(value, Enum) else value
