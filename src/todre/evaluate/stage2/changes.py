"""Changes of a decoder's layers: the picture leaves or is hidden, or layers go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from todre.errors import InvalidValueError
from todre.fields import Checked
from todre.fields.kinds import Count

Kind = Literal["drop", "hide", "delete", "skip"]
KINDS: tuple[Kind, ...] = ("drop", "hide", "delete", "skip")


@dataclass(frozen=True)
class Change(Checked):
    """One change of the decoder's layers.

    Args:
        kind: `drop`: all visual tokens leave after `layer`; `hide`: text does not see them in `layer` alone; `delete`:
            the layers after `layer` are skipped; `skip`: `layer` alone is skipped, for visual tokens too.
        layer: count of layers run for `drop` and `delete`, number of the layer (from 1) for `hide` and `skip`.
    """

    kind: Kind
    layer: Count

    @property
    def name(self) -> str:
        """The change's name in results, such as `drop-12`."""
        return f"{self.kind}-{self.layer}"

    def blind(self, depth: int) -> frozenset[int]:
        """Layers (from 0) in which text does not see the picture."""
        if self.kind == "drop":
            return frozenset(range(self.layer, depth))
        return frozenset({self.layer - 1}) if self.kind == "hide" else frozenset()

    def gone(self, depth: int) -> frozenset[int]:
        """Layers (from 0) that do not run."""
        if self.kind == "delete":
            return frozenset(range(self.layer, depth))
        return frozenset({self.layer - 1}) if self.kind == "skip" else frozenset()

    def first(self, depth: int) -> int:
        """The first layer (from 0) that differs from the whole model."""
        return min(self.blind(depth) | self.gone(depth), default=depth)


def changes_at(kind: Kind, layers: Sequence[int], depth: int) -> tuple[Change, ...]:
    """A change of `kind` at each of `layers`, ascending and each once.

    Raises:
        InvalidValueError: a layer is not in the decoder, or nothing comes after it to change.
    """
    last = depth if kind in ("hide", "skip") else depth - 1
    for layer in layers:
        if not 1 <= layer <= last:
            raise InvalidValueError(f"{kind} at layer {layer} is outside 1 to {last} of a decoder of {depth} layers.")
    return tuple(Change(kind, layer) for layer in sorted(set(layers)))
