"""CDPruner: relevant tokens that differ from each other, by a DPP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from todre.fields import Range
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens

_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class CDPruner(Method):
    """Keep diverse, relevant tokens: greedy MAP of a DPP conditioned on the question.

    Based on "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs" (CDPruner,
    arXiv 2506.10967). The kernel of the determinantal point process is L = diag(r) K diag(r), with K the cosines of
    projected tokens and r their relevance, min-max normalised over the sample. The paper takes relevance from CLIP's
    text tower, with inverted sign (CLIP's patches are known to be least like the text that describes them). The models
    here have no text tower, so relevance is the mean cosine of a visual token to the embeddings of the sample's text,
    in the LLM's space and with its natural sign.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Each tile is a process of its own and
            keeps an equal fraction by largest remainder, as in the authors' code; newline tokens are kept first, within
            the budget (unless they alone would use it up).
        relevance: the measure of r: `text` (tokens like the text are relevant), `text-inverted` (tokens unlike it, the
            authors' sign), or `uniform` (all alike). A sample without text after its pictures gets `uniform`.
        theta: weight of relevance against diversity, in [0, 1): r becomes exp(r·θ / (2(1 - θ))). None uses r
            itself, as the released code does.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    relevance: Literal["text", "text-inverted", "uniform"] = "text"
    theta: Annotated[float, Range(least=0, below=1, called="a weight")] | None = None

    name: ClassVar[str] = "cdpruner"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "diverse tokens that are relevant to the question (DPP)"
    paper: ClassVar[str] = "arXiv 2506.10967"
    card: ClassVar[Card] = Card(
        venue="NeurIPS 2025",
        acts=("select",),
        needs=("text",),
        follows="The released kernel and search. Relevance comes from the LLM's own embeddings of the text instead of "
        "CLIP's text tower, with its natural sign instead of the authors' inverted one, and newline tokens count "
        "within the budget.",
    )

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile the greedy set with the largest determinant."""
        from todre.methods.shared.grouping import newlines_first, tile_shares
        from todre.select import dpp_order

        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        quality = self._quality(visual)
        for tile, share in tile_shares(visual, room):
            if share:
                keep[tile[dpp_order(visual.embeddings[tile], share, quality[tile])]] = True
        return keep

    def _quality(self, visual: VisualTokens) -> Tensor:
        """Relevance r of each token, (n,) float64."""
        import torch
        from torch.nn.functional import normalize

        like = torch.zeros(len(visual), dtype=torch.float64, device=visual.tile.device)
        if self.relevance != "uniform" and len(visual.text):
            asked = normalize(visual.text.double(), dim=1).mean(dim=0)
            like = normalize(visual.embeddings.double(), dim=1) @ asked
        like = -like if self.relevance == "text-inverted" else like
        known = like[~visual.newline]
        span = known.max() - known.min() if len(known) else like.new_zeros(())
        scaled = (like - known.min() + _TINY) / span if span > 0 else torch.ones_like(like)
        return scaled if self.theta is None else torch.exp(scaled * self.theta / (2 * (1 - self.theta)))
