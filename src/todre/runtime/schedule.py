"""The schedule: after which decoder layers which methods are asked.

The schedule is fixed at attach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.hf.decoder import Decoder
from todre.methods.base import Method


@dataclass(frozen=True)
class Schedule:
    """What happens between decoder layers, by layer (1-based).

    Attributes:
        reducers: by layer, the methods asked after it, in order.
        attention_layers: layers whose attention some method reads.
        rejoins: layers before which parked tokens come back.
        n_layers: number of decoder layers.
    """

    reducers: Mapping[int, tuple[Method, ...]] = field(default_factory=dict)
    attention_layers: tuple[int, ...] = ()
    rejoins: tuple[int, ...] = ()
    n_layers: int = 0

    @classmethod
    def of(cls, method: Method, decoder: Decoder) -> Schedule:
        """The schedule of `method` on a decoder.

        Attention is read in the last layer with full attention at or before the layer that the method names.

        Raises:
            UnsupportedModelError: a method reads attention, and no layer has full attention; or a method lets tokens
                come back, and some layers have a window or a state.
        """
        reducers: dict[int, tuple[Method, ...]] = {}
        watched: set[int] = set()
        for layer, methods in sorted(method.reducers(decoder.n_layers).items()):
            for each in methods:
                place = decoder.readable_layer(layer) if each.reads_attention else layer
                reducers[place] = tuple(dict.fromkeys((*reducers.get(place, ()), each)))
                if each.reads_attention:
                    watched.add(place)
        rejoins = method.rejoin_before(decoder.n_layers)
        if rejoins and not decoder.uniform:
            raise UnsupportedModelError(
                f"{method.name} lets tokens come back, which layers with a window or a state would not have seen; "
                "use a method that drops them for good."
            )
        return cls(dict(sorted(reducers.items())), tuple(sorted(watched)), rejoins, decoder.n_layers)

    def asked_later(self, method: Method, layer: int) -> tuple[int, ...]:
        """Layers after layer `layer` (all 1-based) after which `method` is asked again."""
        return tuple(place for place, methods in self.reducers.items() if place > layer and method in methods)

    def parking(self, layer: int) -> Method:
        """The method that parks tokens after layer `layer` (1-based) and takes them back."""
        return next(method for method in self.reducers[layer] if method.rejoin_before(self.n_layers))

    def check(self, deepstack: Any) -> None:
        """Check that no tokens leave in layers that add picture features.

        Args:
            deepstack: the features, by layer, or None.

        Raises:
            UnsupportedInputError: a method is asked among these layers.
        """
        if deepstack is None or not self.reducers:
            return
        places = [int(key) for key in deepstack] if isinstance(deepstack, Mapping) else range(len(deepstack))
        deep = max((place + 1 for place in places), default=0) if isinstance(places, Sequence) else 0
        first = min(self.reducers)
        if first < deep:
            name = type(self.reducers[first][0]).__name__
            raise UnsupportedInputError(
                f"Tokens cannot be dropped after layer {first}: this model adds features of its pictures to the hidden "
                f"states of its first {deep} layers; set the layers of {name} from {deep} on, or use a method that "
                "acts later, such as todre."
            )
