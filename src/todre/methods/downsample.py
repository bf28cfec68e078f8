"""Downsampling: a picture resized before the processor, a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from todre.fields.kinds import Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card


@dataclass(frozen=True, kw_only=True)
class Downsample(Method):
    """Resize each picture before the processor, for fewer visual tokens.

    A common baseline (Liao et al. 2025, "Are We Using the Right Benchmark"). The size is the one at which the picture
    becomes as many visual tokens as the budget allows, at about its own ratio of sides; the model then runs unpruned.
    It acts where pictures are prepared: in `todre ask`, `compare`, `eval`, `bench` and `reproduce`. `todre.prune` does
    not see pictures before the processor and refuses it; there, resize with `todre.downsample`.

    Args:
        retain: visual tokens kept at most, a fraction of each sample's tokens or a count; several pictures have equal
            fractions, by largest remainder.
        positions: no effect, since no token is left out of the prompt.
        per: see `Method`; a frame is a picture.
    """

    retain: Retain = 0.1

    name: ClassVar[str] = "downsample"
    summary: ClassVar[str] = "a smaller picture: the control that prunes nothing"
    paper: ClassVar[str] = "arXiv 2510.07143"
    card: ClassVar[Card] = Card(
        venue="ACL 2026",
        acts=("pixels",),
        budget="At most: the largest number of tokens within the budget that the processor makes at some smaller size; "
        "refused where every size has more.",
        follows="The size is found by the processor's own count, not by the nominal factor 1/r² of the VTC-Bench code; "
        "resampled once with the processor's filter, without its JPEG.",
    )

    def most_tokens(self, counts: Sequence[int]) -> list[int]:
        """Each picture's part of the budget."""
        from todre.methods.shared.budgets import shares

        if self.per != "sample":
            return [budget(self.retain, count) for count in counts]
        return shares(budget(self.retain, sum(counts)), list(counts))
