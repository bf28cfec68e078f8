"""A method's answer after a decoder layer, and its view when tokens come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Reduction:
    """A method's answer after a decoder layer.

    Attributes:
        keep: (b, s) bool over the layer's key slots; only visual slots may be dropped.
        text_to_visual: (b,) float32, the ratio of ToDRE eq. 7 behind the decision, NaN where undefined; None for
            methods without it.
        visual_to_text: (b,) float32, the other ratio of ToDRE eq. 7, NaN where undefined; None for methods without it.
        hidden: (b, q, d) hidden states that replace the present ones, for methods that merge; None leaves them.
        parks: whether the states of dropped tokens are kept until `rejoin_before` lets them come back.
        memo: any value that the method needs later in the same forward: `ParkedView.memo` returns it to `rejoin`, and
            `ReduceContext.memo` to `reduce` at later layers.
        left: visual tokens of this forward that `keep` leaves in each row, if the method knows the number; otherwise
            the runtime counts them, which waits for the device.
        earlier: number of visual slots of earlier turns that `keep` leaves in each row; None if it leaves all of them.
        faded: (b,) bool, rows in which the ratios say that vision has faded, and visual tokens leave; None for methods
            without ratios.
        early: whether the method itself does not trust ratios of this layer; reports then say so.
        ahead: later layer → both ratios as estimated from the present hidden states, (b,) float32 each.
    """

    keep: Tensor
    text_to_visual: Tensor | None = None
    visual_to_text: Tensor | None = None
    hidden: Tensor | None = None
    parks: bool = False
    memo: Any = None
    left: Sequence[int] | None = None
    earlier: Sequence[int] | None = None
    faded: Tensor | None = None
    early: bool = False
    ahead: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def after(self, earlier: Reduction | None) -> Reduction:
        """This answer combined with the answer of a method before it at the same layer."""
        if earlier is None:
            return self
        return Reduction(
            keep=self.keep & earlier.keep.to(self.keep.device),
            text_to_visual=self.text_to_visual if self.text_to_visual is not None else earlier.text_to_visual,
            visual_to_text=self.visual_to_text if self.visual_to_text is not None else earlier.visual_to_text,
            hidden=self.hidden if self.hidden is not None else earlier.hidden,
            parks=self.parks or earlier.parks,
            memo=self.memo if self.parks else earlier.memo,
            left=self.left,
            earlier=self.earlier if self.earlier is not None else earlier.earlier,
            faded=self.faded if self.faded is not None else earlier.faded,
            early=self.early if self.faded is not None else earlier.early,
            ahead=self.ahead if self.faded is not None else earlier.ahead,
        )


@dataclass(frozen=True)
class ParkedView:
    """The record that `rejoin` is shown when parked tokens come back.

    Attributes:
        layer: count of layers run when the tokens were parked.
        before: (b, q0, d) hidden states of all q0 columns in flight when the tokens were parked.
        now: (b, q0, d) present hidden states of these columns, 0 where a column is not in flight.
        present: (b, q0) bool, True for the columns that are still in flight.
        memo: `Reduction.memo` of the answer that parked the tokens.
    """

    layer: int
    before: Tensor
    now: Tensor
    present: Tensor
    memo: Any
