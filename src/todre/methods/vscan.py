"""VScan: local and global picks before the LLM with merging, a cut halfway inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields import Items, Range
from todre.fields.kinds import Attention, Count, Layer, Retain, Share, TowerLayer
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import counts_left, next_layer_scores

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class VScan(Method):
    """Keep tokens that are salient in their window or in the whole, and cut once more.

    Based on "VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models" (arXiv 2505.22654).
    Stage 1, before the LLM, keeps n tokens of a tile. Of these ⌊n·local⌋ are the most attended in a shallow layer of
    the vision tower, but no more than their equal part, rounded up, from each window of the tile's raster; the others
    are the most attended in a deep layer. Each token that is left out joins the kept token of its tile whose embedding
    is closest by cosine, and a kept token becomes the mean of itself and those that joined it. Stage 2, inside the LLM,
    keeps the tokens to which the prompt's last token would pay most attention in the layer after `layer`.

    Args:
        retain: visual tokens that enter the LLM, a fraction of each sample's tokens or a count; 96 of 576 in the
            authors' scripts. Tiles get equal fractions, rounded by largest remainder; newline tokens are kept first,
            within the budget (unless they alone would use it up).
        deep: visual tokens left by stage 2, a fraction of those that entered the LLM or a count; a third in the
            authors' scripts.
        layer: layers run before stage 2, a count or a fraction of the depth; 16 of 32 and 14 of 28 in the scripts.
        local: share of stage 1's budget that is picked by window, 0 to 1.
        window: tokens along each side of a window, 6 for LLaVA's 24 × 24 tokens in the code, and 4 for Qwen2.5-VL.
            Rows and columns that fill no window of their own belong to the last one.
        merging: whether the tokens that stage 1 leaves out are merged into those that it keeps.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        local_layer: tower layer for the picks by window: a fraction of the depth (rounded down) as a float, or a Python
            index as an int. The code has 5 of 24 in CLIP, and 7 of 32 in Qwen2.5-VL's tower.
        global_layer: tower layer for the other picks, given like `local_layer`; -2 in CLIP, and -1 in Qwen2.5-VL.
        stages: the stages to run, 1 and 2.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 1 / 6
    deep: Retain = 1 / 3
    layer: Layer = 1 / 2
    local: Share = 0.5
    window: Count = 6
    merging: bool = True
    attention: Attention = "auto"
    local_layer: TowerLayer = 7 / 32
    global_layer: TowerLayer = -2
    stages: Annotated[tuple[Annotated[int, Range(least=1, most=2)], ...], Items(least=1, ascending=True)] = (1, 2)

    name: ClassVar[str] = "vscan"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "picks by window and by whole with merging, cut again halfway"
    paper: ClassVar[str] = "arXiv 2505.22654"
    card: ClassVar[Card] = Card(
        venue="TMLR 2026",
        acts=("select", "reduce"),
        needs=("received", "grid", "attention", "hidden"),
        budget="Exact at each stage; `retain` is what enters, `deep` what stage 2 leaves of it.",
        follows="The released code. Its LLaVA picks the same number in each window, rounded down, and so falls short "
        "of its budget; its Qwen2.5-VL picks greedily under a limit for each window, which meets it: here always the "
        "latter, and both agree where the windows divide the budget. Stage 2 rotates queries and keys as its LLaVA "
        "does and its Qwen2.5-VL does not. Windows lie within a tile; newline tokens count within the budget and take "
        "no part in merging; attention received replaces [CLS] where a tower has none.",
    )
    reads_attention: ClassVar[bool] = False

    @property
    def selects(self) -> bool:
        """True if stage 1 runs."""
        return 1 in self.stages

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of both layers for stage 1."""
        from todre.tensors.token_facts import Signal

        layers = (self.local_layer, self.global_layer) if self.selects else ()
        return tuple(Signal(self.attention, layer) for layer in layers)

    def select(self, visual: VisualTokens) -> Selection:
        """Stage 1: pick in each tile by window, then by the whole; merge the others.

        Raises:
            UnsupportedInputError: the place of a token in its raster is unknown.
        """
        from todre.methods.shared.grouping import newlines_first, tile_shares
        from todre.methods.views.visual_tokens import Selection

        places = visual.host
        if bool((places.row[~places.newline] < 0).any()):
            raise UnsupportedInputError(
                "VScan needs the row and column of every visual token, which this model does not tell; "
                "use a method without windows, such as visionzip."
            )
        shallow, deep = (visual.signal(request) for request in self.signals())
        window, windows = self._windows(visual)
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        embeddings = visual.embeddings.clone()
        for (tile, share), among in zip(tile_shares(visual, room), windows, strict=True):
            if share in (0, len(tile)):
                keep[tile] = share > 0
                continue
            picks = self._picks(shallow[tile], deep[tile], window[tile], among, share)
            keep[tile[picks]] = True
            if self.merging:
                embeddings[tile[picks]] = _merged(visual.embeddings[tile], picks)
        return Selection(keep, embeddings)

    def _windows(self, visual: VisualTokens) -> tuple[Tensor, list[int]]:
        """The window of each token, (n,) int64; and the number of windows of each tile.

        Windows of different tiles have different numbers; tiles are those of `grouping.tiles`, in its order.
        """
        import torch

        places = visual.host
        _, tile = torch.stack([places.picture, places.frame, places.tile], dim=1).unique(dim=0, return_inverse=True)
        parts = [tile]
        for line in (places.row, places.column):
            first = line.new_zeros(len(line)).scatter_reduce(0, tile, line, "amin", include_self=False)
            last = line.new_zeros(len(line)).scatter_reduce(0, tile, line, "amax", include_self=False)
            whole = ((last - first + 1) // self.window).clamp(min=1)
            parts.append(((line - first[tile]) // self.window).minimum(whole[tile] - 1))
        known, window = torch.stack(parts, dim=1).unique(dim=0, return_inverse=True)
        count = known[:, 0].bincount().tolist()
        return visual.here(window), [count[number] for number in dict.fromkeys(tile[~places.newline].tolist())]

    def _picks(self, shallow: Tensor, deep: Tensor, window: Tensor, windows: int, share: int) -> Tensor:
        """Places of the kept tokens of one tile, (share,) int64, ascending.

        Args:
            shallow, deep: (m,) attention of the two layers.
            window: (m,) int64, the window of each token.
            windows: number of windows.
            share: number of tokens to keep.
        """
        import torch

        from todre.methods.shared.grouping import best

        local = int(share * self.local)
        order = best(shallow, len(shallow))
        by_window = order[window[order].argsort(stable=True)]
        ordered = window[by_window]
        rank = torch.empty_like(order)
        here = torch.arange(len(order), device=order.device, dtype=torch.int64)
        rank[by_window] = here - torch.searchsorted(ordered, ordered)
        offered = rank[order] < -(-local // windows)
        picked = torch.empty_like(offered)
        picked[order] = offered & (offered.cumsum(0) <= local)
        ranked = best(deep, len(deep))
        picked_first = (~picked[ranked]).to(torch.uint8).argsort(stable=True)
        return ranked[picked_first[:share]].sort().values

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Stage 2: act once, after `layer`, unless it is the last, which has no next one."""
        if 2 not in self.stages:
            return ()
        return tuple(layer for layer in resolve_layers((self.layer,), n_layers) if layer < n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Stage 2: rank by the next layer's attention from the last token."""
        return context.best(next_layer_scores(context), counts_left(context, self.deep, "input"))


def _merged(x: Tensor, kept: Tensor) -> Tensor:
    """Means of the kept tokens and the tokens that joined them, (kept, d).

    Ties go to the first kept token.

    Args:
        x: (m, d) embeddings of one tile's tokens.
        kept: (share,) int64, ascending, 0 < share < m.
    """
    import torch
    from torch.nn.functional import normalize

    from todre.tensors.transfer import known_places

    left = torch.ones(len(x), device=x.device, dtype=torch.bool).index_fill_(0, kept, False)
    others, own = x[known_places(left, len(x) - len(kept))].float(), x[kept].float()
    where = (normalize(others, dim=-1) @ normalize(own, dim=-1).T).argmax(dim=1)
    count = own.new_ones(len(own)).index_add_(0, where, own.new_ones(len(others)))
    return (own.index_add(0, where, others) / count[:, None]).to(x.dtype)
