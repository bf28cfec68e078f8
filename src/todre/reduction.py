"""Stage 2's view of one decoder layer: who is asked, what was seen, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from todre.attention import Seen, attention_mass, visible_keys
from todre.layout import PAD, TEXT, VISUAL


@dataclass(frozen=True)
class Reduction:
    """A method's answer after one layer.

    Attributes:
        keep: (b, s) bool over the layer's key slots; only visual slots may be dropped.
        text_to_visual: (b,) float32 ratio that led to it, NaN where undefined; None if the method has none.
        visual_to_text: likewise.
    """

    keep: Tensor
    text_to_visual: Tensor | None = None
    visual_to_text: Tensor | None = None


@dataclass(frozen=True)
class ReduceContext:
    """What a method may look at after `layer` of `n_layers` decoder layers have run.

    Attributes:
        layer: count of layers run, 1-based.
        n_layers: decoder layers in all.
        seen: queries and keys of that layer; the last q keys are the queries' own.
        kinds: (b, s) int8 class of each key slot (layout.py).
    """

    layer: int
    n_layers: int
    seen: Seen
    kinds: Tensor

    @property
    def visual(self) -> Tensor:
        """(b, s) bool, visual key slots."""
        return self.kinds == VISUAL

    def text_to_visual(self, admissible: bool = True) -> Tensor:
        """ToDRE eq. 7, text queries on visual keys, (b,) float32; NaN where no query qualifies."""
        return self._ratio(TEXT, VISUAL, admissible)

    def visual_to_text(self, admissible: bool = True) -> Tensor:
        """ToDRE eq. 7, visual queries on text keys, (b,) float32; NaN where no query qualifies."""
        return self._ratio(VISUAL, TEXT, admissible)

    def _ratio(self, asking: int, asked: int, admissible: bool) -> Tensor:
        """Mean mass of the `asking` queries on the `asked` keys.

        Each softmax row sums to one over S, V and T, so eq. 7's ratio of sums is the mean mass. With `admissible`,
        queries that can see no `asked` key are left out; they can only see zeros. Without it they count, as eq. 7 has
        it.
        """
        queries = self.seen.query.shape[2]
        target = self.kinds == asked
        rows = self.kinds[:, -queries:] == asking
        seeing = rows & self._reach(target, queries)
        (mass,) = attention_mass(self.seen, seeing, [target], self.kinds != PAD)
        count = (seeing if admissible else rows).sum(dim=1)
        return torch.where(count > 0, mass.sum(dim=1) / count, torch.nan)

    def _reach(self, target: Tensor, queries: int) -> Tensor:
        """(b, q) bool: queries that can see some key of `target`."""
        if self.seen.mask is None or self.seen.mask.ndim != 4:
            return target.cumsum(dim=1)[:, -queries:] > 0
        block = torch.arange(queries, device=target.device)
        return (visible_keys(self.seen, block) & target[:, None, :]).any(dim=-1)
