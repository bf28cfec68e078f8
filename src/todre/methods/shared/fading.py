"""Whether a sample still looks at its pictures: ToDRE's eq. 7, here and ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext

RatioOver = Literal["text", "last"]
Ahead = Literal["no", "candidates", "layers"]

LATE = 7 / 8
"""Share of the depth from which a low ratio is trusted.

ToDRE's version 2 decides there alone. By its own table of layers (supplement, table 3), dropping there costs nothing,
and dropping at version 1's earlier layers does: 12.1 points at 1/2, 3.8 at 5/8, 1.7 at 6/8. Version 1's table (6) has
smaller losses, 0.8, 0.1 and 0.1.
"""


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Both ratios of eq. 7 in each row.

    Attributes:
        to_visual: (b,) float32, text to visual; NaN where undefined.
        to_text: (b,) float32, visual to text; NaN where undefined.
    """

    to_visual: Tensor
    to_text: Tensor

    @classmethod
    def of(cls, context: ReduceContext, admissible: bool, over: RatioOver) -> Ratios:
        """The ratios of the attention that `context` shows.

        Args:
            context: the context, after a layer or looking ahead at one.
            admissible: see `ReduceContext.text_to_visual`.
            over: the text queries: all after a picture (`text`), or the last alone (`last`).
        """
        return cls(
            to_visual=context.text_to_visual(admissible, last=over == "last"),
            to_text=context.visual_to_text(admissible),
        )

    def below(self, threshold: float) -> Tensor:
        """Rows in which both ratios lie below the threshold, (b,) bool.

        An undefined visual-to-text ratio counts as below; an undefined text-to-visual ratio, which means that no text
        follows a picture, does not.
        """
        return (self.to_visual < threshold) & (self.to_text.isnan() | (self.to_text < threshold))


def look_ahead(
    context: ReduceContext, ahead: Ahead, faded: Tensor, admissible: bool, over: RatioOver
) -> Mapping[int, Ratios]:
    """Estimates of the ratios after later layers, by layer (1-based).

    A later layer has not run. Its ratios are estimated by giving the present hidden states, of text and of pictures, to
    its norm and its projections to queries and keys. That costs these projections for each layer that is looked at, and
    one read of the device. Two shortcuts would not be honest: a whole first pass that measures every ratio, with a
    second, pruned one that alone is timed; and taking estimates for measured ratios.

    Args:
        context: the context after the layer that ran last.
        ahead: the layers to look at: none, later candidates, or every later layer whose attention can be read.
        faded: (b,) bool; nothing is computed if no row has faded here.
        admissible, over: see `Ratios.of`.
    """
    from todre.tensors.transfer import fetch

    layers = {"no": (), "candidates": context.asked_later, "layers": context.readable_later}[ahead]
    if not layers or not bool(fetch([faded.any()])[0]):
        return {}
    return {layer: Ratios.of(context.ahead(layer), admissible, over) for layer in layers}


def keep_attended(context: ReduceContext, count: int, over: RatioOver) -> Tensor:
    """Mask of the visual slots that text attends to most, and of everything else.

    Slots of earlier turns are ranked along; later layers may have dropped some of them, and so keep fewer. Scores are
    sums over text queries, heads averaged; ties go to the first.

    Args:
        context: the context after a layer.
        count: visual slots to keep in each row.
        over: see `Ratios.of`.

    Returns:
        (b, s) bool.
    """
    import torch

    visual = context.visual
    if over == "text":
        rows, places = context.text_rows, context.query_places
    else:
        rows, places = context.last_row, context.last_places
    scores = context.scores(rows, places=places).masked_fill(~visual, float("-inf"))
    order = scores.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(order.shape[1], device=order.device, dtype=torch.int64).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, place)
    return ~visual | (rank < count)
