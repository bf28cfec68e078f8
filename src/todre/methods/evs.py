"""EVS: keep the tokens that change from one frame of a clip to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class EVS(Method):
    """Keep a clip's first frame, and of later frames the tokens that change most.

    Based on "Efficient Video Sampling: Pruning Temporally Redundant Tokens for Faster VLM Inference" (EVS, arXiv
    2510.14624). A token's change is 1 - its cosine to the token in the same place one frame earlier. After all tokens
    of the first frame, the tokens with the largest changes of the whole clip are kept.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Newline tokens are kept first, within
            the budget (unless they alone would use it up). Pictures beside a clip count as first frames; if all first
            frames together exceed the budget, they share it, evenly spaced.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.25

    name: ClassVar[str] = "evs"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "the first frame, then what changes from frame to frame (clips)"
    paper: ClassVar[str] = "arXiv 2510.14624"
    card: ClassVar[Card] = Card(
        venue="arXiv 2025",
        acts=("select",),
        needs=("frames",),
        follows="vLLM's implementation (change of embeddings), not the paper's (change of pixels). vLLM never keeps "
        "less than one frame; here the budget is exact, and a smaller one is spaced evenly over the first frame.",
    )

    def __post_init__(self) -> None:
        if self.per == "frame":
            raise InvalidValueError("EVS compares frames, so per='frame' leaves it nothing to compare; use per='clip'.")

    def signals(self) -> tuple[Signal, ...]:
        """Request the place of each token in its frame."""
        from todre.tensors.token_facts import Signal

        return (Signal("grid"),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep first frames, then the largest changes."""
        from todre.methods.shared.grouping import best, newlines_first, spaced

        if not bool((visual.frame > 0).any()):
            raise UnsupportedInputError(
                "EVS compares the frames of a clip, and there is no clip of two frames or more; "
                "use a method for pictures, such as divprune."
            )
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        before = _before(visual)
        first = ((before < 0) & ~visual.newline).nonzero().flatten()
        if room <= len(first):
            keep[first[spaced(len(first), room)]] = True
            return keep
        keep[first] = True
        later = (before >= 0).nonzero().flatten()
        change = _change(visual.embeddings, later, before[later])
        keep[later[best(change, room - len(first))]] = True
        return keep


def _before(visual: VisualTokens) -> Tensor:
    """Index of the token in the same place one frame earlier, -1 where there is none.

    Where rows and columns are unknown, a token's place is its number within its frame.

    Returns:
        (n,) int64.
    """
    import torch

    from todre.methods.shared.grouping import tiles

    before = torch.full_like(visual.frame, -1)
    seen: dict[tuple[int, ...], int] = {}
    for frame in tiles(visual):
        rows, columns = visual.row[frame].tolist(), visual.column[frame].tolist()
        clip, step, tile = (int(fact[frame[0]]) for fact in (visual.picture, visual.frame, visual.tile))
        for number, (token, row, column) in enumerate(zip(frame.tolist(), rows, columns, strict=True)):
            place = (row, column) if row >= 0 else (number,)
            before[token] = seen.get((clip, step - 1, tile, *place), -1)
            seen[clip, step, tile, *place] = token
    return before


def _change(embeddings: Tensor, later: Tensor, earlier: Tensor) -> Tensor:
    """1 - cosine of each token and its predecessor; exactly 0 if both are identical.

    Returns:
        (m,) float64.
    """
    import torch

    now, then = embeddings[later].double(), embeddings[earlier].double()
    change = 1 - torch.nn.functional.normalize(now, dim=1).mul(torch.nn.functional.normalize(then, dim=1)).sum(dim=1)
    return change.clamp(min=0.0).masked_fill((now == then).all(dim=1), 0.0)
