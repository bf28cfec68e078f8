"""The contract between a method (one paper) and the runtime (everything else).

A method is a frozen dataclass whose fields are its hyper-parameters. It acts in the vision tower, before the LLM,
inside the LLM, or at several of these places. The runtime handles caches, masks, positions and batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from todre.errors import InvalidValueError
from todre.fields import Checked, Range, fitted, short_repr
from todre.methods.auto_budget import AutoBudget, count_of
from todre.methods.card import Card
from todre.methods.shared.names import check_names

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import ParkedView, Reduction
    from todre.methods.views.vision_tower import Merging, Patches, Tiles, TowerContext
    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal

Positions = Literal["original", "compact"]
Per = Literal["sample", "image", "clip", "frame"]
MethodT = TypeVar("MethodT", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method(Checked):
    """Base class of all methods; by itself it keeps every visual token.

    Every field is checked and converted by its annotation before a subclass's own `__post_init__` runs.

    Args:
        positions: `original` keeps the survivors' position ids (needed for grounding); `compact` renumbers them, as for
            a prompt that never had the dropped tokens.
        per: the tokens that share one budget: all visual tokens of a sample (`sample`), those of each picture and each
            clip (`image` and `clip` mean the same; so does `sample` where the budget is automatic), or those of each
            frame of a clip and each picture (`frame`).

    Attributes:
        name: the name to create the method by.
        summary: one line for lists of methods.
        paper: arXiv id of the paper that published the method.
        card: further facts about the method.
        reads_attention: whether `reduce` reads attention; False saves the runtime recording it.
        reads_inputs: whether `reduce` reads the embeddings that entered the decoder.
        exact: whether `select` keeps exactly `budget(retain, n)` tokens.
        file_fields: names of fields that are paths of files.
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
    file_fields: ClassVar[tuple[str, ...]] = ()

    def check_together(self) -> None:
        """Check that `per` has an effect.

        Raises:
            InvalidValueError: `per` is set, and the method divides no budget before the LLM.
        """
        if self.per != "sample" and not (self.selects or self.in_pixels):
            raise InvalidValueError(
                f"{type(self).__name__}.per={self.per!r} would change nothing, since {self.name} chooses no tokens "
                "between the vision tower and the LLM; leave per out."
            )

    @property
    def selects(self) -> bool:
        """True if the method selects tokens before the LLM, as its card says."""
        return "select" in self.card.acts

    def selectors(self) -> tuple[Method, ...]:
        """Methods that select before the LLM, in order: itself, none, or several."""
        return (self,) if self.selects else ()

    def signals(self) -> tuple[Signal, ...]:
        """Signals of the vision tower that the method reads.

        The first signal that has a single number per token becomes `visual.saliency`.
        """
        return ()

    def select(self, visual: VisualTokens) -> Tensor | Selection:
        """Select the visual tokens of one sample that enter the LLM.

        Returns:
            (n,) bool, True to keep; or (k,) int64, ascending indices of the kept tokens; or a `Selection`, which
            also changes embeddings. A bool answer makes the runtime wait for the device to count the kept tokens,
            unless `kept_of` gives the count.
        """
        raise NotImplementedError(f"{type(self).__name__} does not select")

    def kept_of(self, n: int) -> int | None:
        """Number of tokens that `select` keeps of `n`; None if it depends on the tokens.

        The number is known for methods with `exact = True` and a `retain` that is a number.
        """
        retain = getattr(self, "retain", None)
        return None if retain is None or isinstance(retain, AutoBudget) or not self.exact else budget(retain, n)

    @property
    def in_tower(self) -> bool:
        """True if the method acts in or before the vision tower."""
        return "tower" in self.card.acts

    @property
    def in_pixels(self) -> bool:
        """True if the method acts on pictures before the processor, and on nothing else."""
        return "pixels" in self.card.acts

    def most_tokens(self, counts: Sequence[int]) -> list[int]:
        """Most visual tokens that each picture of a prompt may become.

        Methods that act on pictures before the processor say so.

        Args:
            counts: visual tokens of each picture as it is.
        """
        raise NotImplementedError(f"{type(self).__name__} does not resize pictures")

    def tower(self) -> Method | None:
        """The method that acts in or before the vision tower, or None.

        A composed method gives the one of its methods that acts there.
        """
        return self if self.in_tower else None

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of tower layers run (ascending) after which the method acts.

        A count of 0 means before the first layer.
        """
        return ()

    def merge(self, context: TowerContext) -> Merging:
        """Choose which tokens of each tile go on, and where the others are merged."""
        raise NotImplementedError(f"{type(self).__name__} does not merge in the vision tower")

    def leave_out(self, patches: Patches) -> Tensor:
        """Choose the image units that the vision tower does not run on.

        Returns:
            (u,) int64, for each unit the index of the unit whose value it takes; its own index if it is kept.
        """
        raise NotImplementedError(f"{type(self).__name__} leaves nothing out before the vision tower")

    def choose_tiles(self, tiles: Tiles) -> Tensor:
        """Choose the tiles that the vision tower runs on.

        Returns:
            (t,) bool, True for the tiles to run on; every thumbnail must be True.
        """
        raise NotImplementedError(f"{type(self).__name__} leaves out no tiles before the vision tower")

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of decoder layers run (1-based, ascending) after which `reduce` acts."""
        return ()

    def reduce(self, context: ReduceContext) -> Reduction:
        """Choose the visual tokens that go on to the layers after `context.layer`."""
        raise NotImplementedError(f"{type(self).__name__} does not reduce")

    def reducers(self, n_layers: int) -> dict[int, tuple[Method, ...]]:
        """Methods that reduce, in order, by the count of decoder layers run.

        At each count of `reduce_after` the method itself acts; a composed method may list several.

        Raises:
            InvalidValueError: `reduce_after` does not return ascending counts from 1 to `n_layers`.
        """
        places = tuple[Annotated[int, Range(least=1, most=n_layers)], ...]
        layers = fitted(f"{type(self).__name__}.reduce_after({n_layers})", self.reduce_after(n_layers), places)
        return dict.fromkeys(layers, (self,))

    def rejoin_before(self, n_layers: int) -> tuple[int, ...]:
        """Layers (1-based, ascending) before which parked tokens come back."""
        return ()

    def rejoin(self, parked: ParkedView) -> Tensor:
        """Hidden states to go on with, for all columns in flight when tokens were parked.

        Returns:
            (b, q0, d).
        """
        raise NotImplementedError(f"{type(self).__name__} parks no tokens")

    def to_dict(self) -> dict[str, Any]:
        """Name and fields of the method, ready for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"method": self.name} | {name: _ready(value) for name, value in fields.items()}

    @classmethod
    def from_dict(cls: type[MethodT], values: dict[str, Any]) -> MethodT:
        """The method that `to_dict` described.

        Raises:
            InvalidValueError: a field is unknown, missing, or has a value that cannot be used.
        """
        fitted(f"What {cls.__name__} is made from", values, dict)
        if values.get("method", cls.name) != cls.name:
            raise InvalidValueError(f"{cls.__name__} is the method {cls.name!r}, not {short_repr(values['method'])}.")
        known = {each.name: each for each in dataclasses.fields(cls) if each.init}
        check_names(cls.__name__, "field", [name for name in values if name != "method"], list(known))
        needed = {name for name, each in known.items() if each.default is each.default_factory is dataclasses.MISSING}
        missing = sorted(needed - set(values))
        if missing:
            raise InvalidValueError(f"{cls.__name__} needs its field {missing[0]!r}, which is not given.")
        return cls(**{name: value for name, value in values.items() if name in known})

    def describe(self) -> str:
        """Name and fields of the method, in one line."""
        fields = ", ".join(f"{k}={v!r}" for k, v in self.to_dict().items() if k != "method")
        return f"{self.name}({fields})"


@dataclass(frozen=True, kw_only=True)
class NoPruning(Method):
    """Keep every visual token: the baseline of all comparisons."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no pruning: the model as it is"
    card: ClassVar[Card] = Card(budget="Everything is kept.")


@dataclass(frozen=True)
class Preset:
    """A method under another name with other defaults.

    The registry reads the presets in a module's `PRESETS`.

    Attributes:
        name: name of the preset.
        create: makes the method.
        cls: class of the method that `create` makes.
        summary, paper: see `Method`.
        card: facts about the preset; None means the card of `cls`.
        settings: names of the arguments of `create`; None means all fields of `cls`.
    """

    name: str
    create: Callable[..., Method]
    cls: type[Method]
    summary: str
    paper: str = ""
    card: Card | None = None
    settings: tuple[str, ...] | None = None


def budget(retain: float | AutoBudget | str, n: int) -> int:
    """Number of tokens to keep of `n`, as `count_of` says.

    Raises:
        InvalidValueError: `retain` is automatic, so that the tokens themselves decide.
    """
    if isinstance(retain, AutoBudget | str):
        raise InvalidValueError(f"The budget {retain} depends on the picture, so {n} tokens alone do not say it.")
    return count_of(retain, n)


def _ready(value: Any) -> Any:
    """A field's value in the form that JSON holds."""
    if isinstance(value, tuple):
        return [_ready(each) for each in value]
    if isinstance(value, AutoBudget):
        return value.to_plain()
    return value.value if isinstance(value, Enum) else value
