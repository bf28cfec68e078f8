"""Composition of methods: each acts on the tokens that earlier methods kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from todre.errors import InvalidValueError
from todre.fields import Items, Wording, fitted
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.registry import from_dict as make_method
from todre.methods.shared.names import check_names

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.reduction import ParkedView
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, init=False, repr=False)
class Compose(Method):
    """Apply several methods: in the vision tower, before the LLM, and inside it.

    `Compose(DivPrune(retain=284), RandomDeep(layer=20, retain=38))` keeps 284 tokens before the LLM and 38 of these
    after layer 20. Before the LLM, a fraction counts the tokens that earlier methods kept; inside the LLM, it counts
    the tokens that entered the LLM.

    Args:
        methods: at most one that acts in the vision tower. A method that lets tokens come back inside the LLM must be
            the only one that acts there.
        positions: see `Method`; one setting for all methods. Each method has its own `per`.

    Raises:
        InvalidValueError: there is no method, an argument is no method, or the methods cannot be combined.
    """

    methods: Annotated[
        tuple[Annotated[Method, Wording("a method such as todre.ToDRE(retain=0.1)")], ...], Items(least=1)
    ] = ()

    name: ClassVar[str] = "compose"
    summary: ClassVar[str] = "several methods, each on what the ones before it kept"
    card: ClassVar[Card] = Card(acts=("tower", "select", "reduce"), budget="That of its methods.")
    needs_methods: ClassVar[bool] = True

    def __init__(self, *methods: Method, positions: str = "original") -> None:
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "per", "sample")
        object.__setattr__(self, "methods", methods)
        self.__post_init__()

    def __post_init__(self) -> None:
        if any(isinstance(method, Compose) for method in self.methods):
            raise InvalidValueError("Compose takes methods one after the other, not one that is composed itself.")
        pixels = [method.name for method in self.methods if method.in_pixels]
        if pixels:
            raise InvalidValueError(
                f"{pixels[0]} changes pictures before the processor and cannot be combined with methods that prune the "
                "model; resize the picture with todre.downsample, then prune with the others."
            )
        towers = [method.name for method in self.methods if method.in_tower]
        if len(towers) > 1:
            raise InvalidValueError(
                f"Only one method can act in the vision tower, not both {towers[0]} and {towers[1]}; leave one out."
            )

    @property
    def selects(self) -> bool:
        """True if any of the methods selects before the LLM."""
        return any(method.selects for method in self.methods)

    @property
    def in_tower(self) -> bool:
        """True if one of the methods acts in the vision tower."""
        return self.tower() is not None

    def tower(self) -> Method | None:
        """The one method that acts in the vision tower, or None."""
        return next((method for method in self.methods if method.in_tower), None)

    def selectors(self) -> tuple[Method, ...]:
        """The methods that select before the LLM, in order."""
        return tuple(each for method in self.methods for each in method.selectors())

    def signals(self) -> tuple[Signal, ...]:
        """Signals that any of the methods reads, each once."""
        return tuple(dict.fromkeys(signal for method in self.methods for signal in method.signals()))

    def reducers(self, n_layers: int) -> dict[int, tuple[Method, ...]]:
        """Methods that reduce, in order, by the count of decoder layers run.

        Raises:
            InvalidValueError: a method lets tokens come back, and another method also reduces.
        """
        found: dict[int, tuple[Method, ...]] = {}
        for method in self.methods:
            for layer, asked in method.reducers(n_layers).items():
                found[layer] = found.get(layer, ()) + asked
        asked_methods = list(dict.fromkeys(method for asked in found.values() for method in asked))
        back = [method for method in asked_methods if method.rejoin_before(n_layers)]
        if back and len(asked_methods) > 1:
            raise InvalidValueError(
                f"{back[0].name} lets tokens come back, so no other method can reduce inside the LLM beside it; "
                "compose it with methods that act before the LLM."
            )
        return dict(sorted(found.items()))

    def rejoin_before(self, n_layers: int) -> tuple[int, ...]:
        """Layers (1-based) before which tokens parked by any of the methods come back."""
        return next((layers for method in self.methods if (layers := method.rejoin_before(n_layers))), ())

    def rejoin(self, parked: ParkedView) -> Tensor:
        """Not available: the runtime asks the method that parked the tokens."""
        raise NotImplementedError("ask the method that parked the tokens")

    def to_dict(self) -> dict[str, Any]:
        """Dictionaries of the methods, in order."""
        methods = [method.to_dict() for method in self.methods]
        return {"method": self.name, "positions": self.positions, "methods": methods}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Compose:
        """The composition that `to_dict` described.

        Raises:
            InvalidValueError: a field is unknown, or a method cannot be made.
        """
        check_names("Compose", "field", [name for name in values if name != "method"], ["methods", "positions"])
        inner = fitted("Compose.methods", values.get("methods", []), tuple[dict[str, Any], ...])
        if any(each.get("method") == cls.name for each in inner):
            raise InvalidValueError("Compose takes methods one after the other, not one that is composed itself.")
        return cls(*map(make_method, inner), positions=values.get("positions", "original"))

    def describe(self) -> str:
        """Each method and its fields, in one line."""
        return " + ".join(method.describe() for method in self.methods)

    def __repr__(self) -> str:
        inner = ", ".join(repr(method) for method in self.methods)
        return f"Compose({inner}, positions={self.positions!r})"
