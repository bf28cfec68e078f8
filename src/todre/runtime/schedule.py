"""Where inside the decoder which methods are asked, worked out once when a model is attached to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.hf.decoder import Decoder
from todre.methods.base import Method


@dataclass(frozen=True)
class Plan:
    """What happens between decoder layers.

    Attributes:
        reducers: by count of layers run, the methods asked there, in order.
        watched: counts of layers run whose attention some of them reads.
        rejoins: layers (1-based) before which parked tokens come back.
    """

    reducers: Mapping[int, tuple[Method, ...]] = field(default_factory=dict)
    watched: tuple[int, ...] = ()
    rejoins: tuple[int, ...] = ()

    @classmethod
    def of(cls, method: Method, decoder: Decoder) -> Plan:
        """The plan of `method`; attention is read in the last layer that sees everything, at or before the one named.

        Raises:
            UnsupportedModelError: a method reads attention, and no layer of the decoder can tell.
        """
        reducers: dict[int, tuple[Method, ...]] = {}
        watched: set[int] = set()
        for layer, asked in sorted(method.reducers(decoder.n_layers).items()):
            for each in asked:
                place = decoder.measured(layer) if each.reads_attention else layer
                reducers[place] = tuple(dict.fromkeys((*reducers.get(place, ()), each)))
                if each.reads_attention:
                    watched.add(place)
        rejoins = method.rejoin_before(decoder.n_layers)
        if rejoins and not decoder.uniform:
            raise UnsupportedModelError(
                f"{method.name} lets tokens come back, which layers with a window or a state would not have seen; "
                "use a method that drops them for good."
            )
        return cls(dict(sorted(reducers.items())), tuple(sorted(watched)), rejoins)

    def check(self, deepstack: Any) -> None:
        """Refuse to drop tokens among the layers that add features of pictures to their hidden states.

        Raises:
            UnsupportedInputError: a method is asked among them.
        """
        if deepstack is None or not self.reducers:
            return
        places = [int(key) for key in deepstack] if isinstance(deepstack, Mapping) else range(len(deepstack))
        deep = max((place + 1 for place in places), default=0) if isinstance(places, Sequence) else 0
        first = min(self.reducers)
        if first < deep:
            raise UnsupportedInputError(
                f"Tokens cannot be dropped after layer {first}: this model adds features of its pictures to the hidden "
                f"states of its first {deep} layers; name layers from {deep} on."
            )
