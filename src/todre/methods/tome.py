"""ToMe: merge the most similar tokens, layer by layer, inside the vision tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.rates import constant, left_after

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.vision_tower import Merging, TowerContext


@dataclass(frozen=True, kw_only=True)
class ToMe(Method):
    """Merge the most similar tokens in every layer of the vision tower.

    Based on "Token Merging: Your ViT But Faster" (arXiv 2210.09461). Tokens are assigned alternately to sets A and B;
    each token of A is matched with the token of B whose key, averaged over heads, is closest by cosine. The r closest
    pairs are merged to their mean weighted by size. Attention to a token is weighted by its size. [CLS] and
    registers are never merged, and nothing is merged into them.

    Args:
        retain: tokens kept of each tile, a fraction or a count; each layer removes the same number r, at most half of
            its tokens, and the last layers remove what is left.
        proportional: whether later layers add the logarithm of a token's size to the logits of its key.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    retain: Retain = 0.5
    proportional: bool = True

    name: ClassVar[str] = "tome"
    summary: ClassVar[str] = "similar tokens merged in every layer of the vision tower"
    paper: ClassVar[str] = "arXiv 2210.09461"
    card: ClassVar[Card] = Card(
        venue="ICLR 2023",
        acts=("tower",),
        needs=("keys",),
        budget="Exact in the tower, for each tile; unpadding, newlines and pixel shuffle (a visual token stays if any "
        "part of it does) may keep more before the LLM.",
        follows="Merges after a block, not between its attention and its MLP, because blocks are not split here; the "
        "order of tokens is kept, and a merged token stands where its token of B stood.",
    )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after every layer."""
        return tuple(range(1, n_layers + 1))

    def merge(self, context: TowerContext) -> Merging:
        """Merge the r closest pairs."""
        from todre.methods.views.vision_tower import Merging, fuse

        layers, n = self.tower_after(context.n_layers), context.patches
        counts = constant(n, budget(self.retain, n), len(layers), lambda count: count // 2)
        r = max(context.count - left_after(context.layer, layers, counts), 0)
        into = match_tokens(context.keys(), context.first, min(r, context.count // 2))
        keep = into == into.new_tensor(range(into.shape[1]))
        hidden = fuse(context.hidden, into, context.size) if r else None
        return Merging(keep, into, hidden, self.proportional)


def match_tokens(keys: Tensor, first: int, r: int) -> Tensor:
    """Bipartite soft matching: the token that each token goes into.

    Args:
        keys: (t, s, c) float32.
        first: number of leading tokens ([CLS], registers), which are in neither set: they are never merged, and no
            patch is merged into them.
        r: number of pairs to merge, closest first; ties go to the lower index, first in A, then in B.

    Returns:
        (t, s) int64, for each token the index of the token that it is merged into; its own index if it stays.
    """
    import torch
    from torch.nn import functional

    tiles, tokens, _ = keys.shape
    everyone = torch.arange(tokens, device=keys.device, dtype=torch.int64)
    a, b = everyone[first + first % 2 :: 2], everyone[first + 1 - first % 2 :: 2]
    into = everyone.repeat(tiles, 1)
    if not r:
        return into
    unit = functional.normalize(keys, dim=-1)
    similar = unit[:, a] @ unit[:, b].transpose(1, 2)
    best = similar.argmax(dim=-1)
    closeness = similar.gather(2, best[..., None])[..., 0]
    going = closeness.argsort(dim=-1, descending=True, stable=True)[:, :r]
    return into.scatter(1, a[going], b[best.gather(1, going)])
