"""Random tokens: the control that every method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Seed
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class RandomTokens(Method):
    """Keep visual tokens drawn uniformly without replacement.

    The draw depends on the seed and on the number of tokens alone, so a batch gives what its samples give one by one.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count.
        seed: seed of the draw; report the mean over several.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    seed: Seed = 0

    name: ClassVar[str] = "random"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "uniformly drawn tokens: the control"
    card: ClassVar[Card] = Card(
        acts=("select",),
        follows="One draw for each seed and number of tokens: pictures of one size keep the same places, so take "
        "several seeds.",
    )

    def select(self, visual: VisualTokens) -> Tensor:
        """Draw `budget` tokens."""
        import torch

        n = len(visual)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(n, generator=generator, dtype=torch.int64, device="cpu")[: budget(self.retain, n)]
        keep = torch.zeros(n, dtype=torch.bool, device="cpu")
        keep[drawn] = True
        return keep
