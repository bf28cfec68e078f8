"""Several methods as one: each takes from what those before it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from todre.errors import InvalidValueError
from todre.fields import Items, Said, fitted
from todre.methods.base import Method, check_names
from todre.methods.card import Card
from todre.methods.registry import from_dict as make_method

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ParkedView
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, init=False, repr=False)
class Compose(Method):
    """Methods one after the other: in the vision tower, before the LLM, and inside it.

    `Compose(DivPrune(retain=284), RandomDeep(layer=20, retain=38))` keeps 284 tokens before the LLM and 38 of these
    after layer 20. A fraction before the LLM is of what the methods before it left; inside the LLM, of what entered it.

    Args:
        methods: at most one that acts in the vision tower; one that lets tokens come back inside the LLM stands alone
            there.
        positions: see `Method`; it holds for all of them. Each has its own `per`.

    Raises:
        InvalidValueError: none is given, one is no method, or they cannot go together.
    """

    methods: Annotated[
        tuple[Annotated[Method, Said("a method such as todre.ToDRE(retain=0.1)")], ...], Items(least=1)
    ] = ()

    name: ClassVar[str] = "compose"
    summary: ClassVar[str] = "several methods, each on what is left by those before it"
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
        towers = [method.name for method in self.methods if method.in_tower]
        if len(towers) > 1:
            raise InvalidValueError(
                f"Only one method can act in the vision tower, not both {towers[0]} and {towers[1]}; leave one out."
            )

    @property
    def selects(self) -> bool:
        """Whether any of them chooses before the LLM."""
        return any(method.selects for method in self.methods)

    @property
    def in_tower(self) -> bool:
        """Whether one of them acts in the vision tower."""
        return self.tower() is not None

    def tower(self) -> Method | None:
        """The one that acts in the vision tower."""
        return next((method for method in self.methods if method.in_tower), None)

    def selectors(self) -> tuple[Method, ...]:
        """Those that choose before the LLM, in order."""
        return tuple(each for method in self.methods for each in method.selectors())

    def signals(self) -> tuple[Signal, ...]:
        """What any of them wants to see."""
        return tuple(dict.fromkeys(signal for method in self.methods for signal in method.signals()))

    def reducers(self, n_layers: int) -> dict[int, tuple[Method, ...]]:
        """Those that are asked inside the LLM.

        Raises:
            InvalidValueError: one lets tokens come back, and another reduces too.
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
        """Where the tokens of the one that lets them come back do."""
        return next((layers for method in self.methods if (layers := method.rejoin_before(n_layers))), ())

    def rejoin(self, parked: ParkedView) -> Tensor:
        """Asked of the method that parked them instead."""
        raise NotImplementedError("ask the method that parked the tokens")

    def to_dict(self) -> dict[str, Any]:
        """The methods' own, in order."""
        methods = [method.to_dict() for method in self.methods]
        return {"method": self.name, "positions": self.positions, "methods": methods}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Compose:
        """The inverse of `to_dict`."""
        check_names("Compose", "field", [name for name in values if name != "method"], ["methods", "positions"])
        inner = fitted("Compose.methods", values.get("methods", []), tuple[dict[str, Any], ...])
        if any(each.get("method") == cls.name for each in inner):
            raise InvalidValueError("Compose takes methods one after the other, not one that is composed itself.")
        return cls(*map(make_method, inner), positions=values.get("positions", "original"))

    def describe(self) -> str:
        """One line: each method and its fields."""
        return " + ".join(method.describe() for method in self.methods)

    def __repr__(self) -> str:
        inner = ", ".join(repr(method) for method in self.methods)
        return f"Compose({inner}, positions={self.positions!r})"
