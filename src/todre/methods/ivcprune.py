"""IVC-Prune: tokens that the question concerns, and tokens that place them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import UnsupportedModelError
from todre.fields.kinds import Layer, Retain, Share
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import counts_left

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class IVCPrune(Method):
    """Keep what the question's values resemble, and coordinate tokens.

    Based on "IVC-Prune" (arXiv 2602.03060). It cuts once, after `layer`. A token q weighs the visual tokens v of its
    forward by the softmax over v of value(q)·value(v)/√d, averaged over value heads, from the values of the layer that
    ran last; no causal mask applies. Seeds are the visual tokens that the text after the picture weighs most; a row
    without such text asks its last token. Coordinate tokens are those whose rotary angles have the largest mean cosine,
    and those with the largest mean sine, over channels (and axes, with M-RoPE). Both kinds are kept; the rest of the
    budget goes to the tokens that text and seeds together weigh most.

    Only later layers get fewer tokens: the keys and values that layers up to `layer` have cached stay, and each
    decoding step attends to them there. The paper cuts these as well, so it saves more memory.

    Coordinate tokens follow from the absolute positions that the model gives its layers. So other text before the
    picture makes them others, and so does padding at the left where positions count it (those of `generate` do not).

    Args:
        retain: visual tokens left after `layer`, seeds and coordinate tokens included; a fraction of those that entered
            or a count.
        layer: layers run with all tokens (the paper's K), a count or a fraction of the depth.
        seeds: seeds as a share of the tokens that entered, at least one.
        coordinates: coordinate tokens by cosine, and as many by sine, as a share of the tokens that entered; each at
            most a quarter of the budget. 0.0 for none.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, their mean over all
            layers.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.5
    layer: Layer = 1 / 2
    seeds: Share = 0.01
    coordinates: Share = 0.1
    counting: Counting = "input"

    name: ClassVar[str] = "ivc-prune"
    summary: ClassVar[str] = "halfway, what the question's values resemble, and coordinate tokens"
    paper: ClassVar[str] = "arXiv 2602.03060"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("reduce",),
        needs=("text", "values", "angles"),
        follows=(
            "The code for Qwen2.5-VL, which fills up to a fixed budget; that for LLaVA (20 % by score, 5 % each by "
            "cosine and sine, weights over the whole prompt) meets none. Keys and values that earlier layers cached "
            "stay, where the code cuts them too. All text after the first picture asks, where the code leaves out two "
            "tokens behind the only picture. Angles are those that the model gives its layers. Small budgets limit "
            "seeds and coordinate tokens, which is ours; at the published budgets the limits do not tell."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep seeds and coordinate tokens, and fill up by weight."""
        import torch

        counts = counts_left(context, self.retain, self.counting)
        parts = [self.parts(*pair) for pair in zip(context.entered.tolist(), counts.tolist(), strict=True)]
        seeds, coordinates = torch.tensor(parts, dtype=torch.int64, device="cpu").view(-1, 2).unbind(dim=1)
        text = context.text_rows
        asked = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
        scores = _weights(context, context.values[:, :, -context.queries :], asked, context.query_places)
        chosen = context.keep_top(scores, seeds)
        for place in _coordinates(context) if int(coordinates.max()) else ():
            chosen = chosen | context.keep_top(place, coordinates)
        scores = scores + _seed_weights(context, scores, seeds)
        return context.best(scores.masked_fill(chosen, float("inf")), counts)

    def parts(self, entered: int, left: int) -> tuple[int, int]:
        """Numbers of seeds and of coordinate tokens by cosine.

        There are as many coordinate tokens by sine.

        Args:
            entered: visual tokens that entered the decoder.
            left: visual tokens to keep.
        """
        coordinates = min(round(self.coordinates * entered), left // 4)
        return min(max(1, round(self.seeds * entered)), left - 2 * coordinates), coordinates


def _weights(context: ReduceContext, queries: Tensor, rows: Tensor, places: Tensor | None) -> Tensor:
    """Weights of the fresh visual tokens by their values, summed over `rows`.

    Args:
        context: the context, whose values weigh.
        queries: (b, kv_heads, m, d) values that ask.
        rows: (b, m) bool, those of them that count.
        places: those of the m that may count in some row, int64; None to read them from the device.

    Returns:
        (b, s) float32, 0 at other slots.
    """
    import torch

    from todre.tensors.attention import AttentionInputs, attention_scores

    values = context.values
    everything = torch.ones(1, 1, 1, values.shape[2], device=values.device, dtype=torch.bool)
    inputs = AttentionInputs(queries, values, values.shape[-1] ** -0.5, everything)
    return attention_scores(inputs, rows, context.fresh, places=places)


def _seed_weights(context: ReduceContext, scores: Tensor, seeds: Tensor) -> Tensor:
    """Weights that the seeds give, summed over them, (b, s) float32.

    Args:
        context: the context, whose values weigh.
        scores: (b, s), whose highest are the seeds; ties go to the first.
        seeds: (b,) on the host, number of seeds.
    """
    import torch

    from todre.tensors.transfer import upload

    values, most = context.values, int(seeds.max())
    order = scores.masked_fill(~context.fresh, float("-inf")).argsort(dim=1, descending=True, stable=True)[:, :most]
    queries = values.gather(2, order[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3]))
    places = torch.arange(most, device=values.device, dtype=torch.int64)
    rows = (places < upload(seeds, values.device)[:, None]) & context.fresh.gather(1, order)
    return _weights(context, queries, rows, places)


def _coordinates(context: ReduceContext) -> tuple[Tensor, Tensor]:
    """Mean cosine and mean sine of the rotary angles at each key slot in flight.

    Returns:
        (b, s) float32 each, 0 at slots of earlier turns.

    Raises:
        UnsupportedModelError: the layers are not given rotary angles as cosines and sines.
    """
    import torch

    found = context.angles() if context.angles is not None else None
    if found is None:
        raise UnsupportedModelError(
            "This decoder does not give its layers rotary angles as cosines and sines, by which ivc-prune finds "
            "coordinate tokens; use coordinates=0.0."
        )
    rows, earlier = len(context.kinds), context.kinds.shape[1] - context.queries

    def mean(part: Tensor) -> Tensor:
        channels = part.to(context.hidden.device).float().mean(dim=-1)
        axes = channels.reshape(-1, *channels.shape[-2:]).mean(dim=0)
        return torch.nn.functional.pad(axes.expand(rows, -1), (earlier, 0))

    return mean(found[0]), mean(found[1])
