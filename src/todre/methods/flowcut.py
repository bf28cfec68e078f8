"""FlowCut: leave tokens behind, layer by layer, where little information flows."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.fields.kinds import Layer, Positive, Retain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layers

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.methods.views.vision_tower import Merging, TowerContext

SECOND, SURPLUS, TILES = 2, 2.5, 5
"""The paper's numbers for AnyRes.

LLM layers before the second cut, the surplus, and the tiles that it is meant for.
"""


@dataclass(frozen=True, kw_only=True)
class FlowCut(Method):
    """Leave behind the tokens through which little information flows, layer by layer.

    Based on "FlowCut: Rethinking Redundancy via Information Flow for Efficient Vision-Language Models" (arXiv
    2505.19536). After each layer of the vision tower a patch v scores S_v = (a_v / Σa + b_v / Σb)·‖v̄_v‖₁. Here a is the
    attention of [CLS], averaged over heads; b the softmax over tokens of the products of [CLS]'s value with theirs,
    averaged over heads; v̄ the value averaged over heads. The scores of layers are mixed: R is S in the first layer and
    (R + S)/2 from then on. Every second layer cuts, counted back from the last but one of those that features need.
    With ℓ layers to go until the last cut, N patches left and n wanted, the round((N - n)/√ℓ · (1 - (H / ln N)²))
    patches with the lowest R leave. H is the entropy of a / Σa: where attention is spread evenly, patches leave later.
    At ℓ = 0 n are left.

    With `second`, a second cut follows in the LLM, which the paper makes for pictures in several tiles. It scores in
    the same way with the last token of the prompt in place of [CLS]. Both softmaxes are over visual tokens alone there,
    and the products of values are divided by the root of their length.

    Args:
        retain: visual tokens kept, a fraction or a count: of each tile, and with a second cut, of each sample after it.
        surplus: with a second cut, the tower leaves `surplus` times `retain` of each tile; 2.5 for a fraction of five
            tiles is the paper's rule, which for a count is 0.5, half of it in each tile; `flowcut-anyres` takes the one
            that goes with its `retain`.
        second: layers of the LLM run before the second cut, a count or a fraction of the depth; None for no such cut.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    retain: Retain = 0.1
    surplus: Positive = 1.0
    second: Layer | None = None

    name: ClassVar[str] = "flowcut"
    summary: ClassVar[str] = "what carries information inside the vision tower, layer by layer"
    paper: ClassVar[str] = "arXiv 2505.19536"
    card: ClassVar[Card] = Card(
        venue="NeurIPS 2025",
        acts=("tower", "reduce"),
        needs=("cls", "attention"),
        budget="Exact in the tower, for each tile; unpadding, newlines and pixel shuffle (a visual token stays if any "
        "part of it does) may keep more before the LLM. Exact after the second cut, if there is one and as many enter.",
        follows="The code's scores and schedule. It cuts all tiles of a call by the largest of their cuts; here each "
        "tile has its own, since pictures may not depend on each other, and the layers between run on the longest. "
        "The second cut asks the prompt's last token (the code: the last of the instruction). Left out: towers that "
        "pack pictures, as in Qwen2-VL, where the code cuts single patches from under the merger.",
    )

    def __post_init__(self) -> None:
        if self.second is None and self.surplus != 1.0:
            raise InvalidValueError(
                f"FlowCut's surplus={self.surplus!r} is what a second cut takes away again, and there is none; "
                "set second, such as second=2."
            )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Score after every layer up to the last but one."""
        return tuple(range(1, max(n_layers - 1, 1) + 1))

    def merge(self, context: TowerContext) -> Merging:
        """Mix the layer's score in, and cut after every second layer."""
        import torch

        from todre.methods.views.vision_tower import Merging

        target, first = self.target(context.patches), context.first
        keep = torch.ones_like(context.place, dtype=torch.bool)
        own = torch.arange(keep.shape[1], device=keep.device, dtype=torch.int64).expand(keep.shape)
        if target >= context.patches:
            return Merging(keep, own)
        present = keep[:, first:] if context.absent is None else ~context.absent[:, first:]
        attention, flow = tower_flow(context, present)
        if context.carried is not None:
            flow = (context.carried[:, first:] + flow) / 2
        head = flow.new_zeros(len(flow), first)
        carry, ahead = torch.cat([head, flow], dim=1), self.tower_after(context.n_layers)[-1] - context.layer
        if ahead % 2:
            return Merging(keep, own, absent=context.absent, carry=carry)
        left = patches_left(attention, present, target, ahead)
        order = flow.masked_fill(~present, float("-inf")).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(1, order, own[:, : order.shape[1]])
        longest, shortest = int(left.max()), int(left.min())
        keep[:, first:] = rank < longest
        absent = None
        if longest > shortest:
            absent = torch.cat([keep.new_zeros(len(keep), first), rank >= left[:, None]], dim=1) & keep
        return Merging(keep, own.masked_fill(~keep, -1), absent=absent, carry=carry)

    def target(self, patches: int) -> int:
        """Patches that the tower leaves of each tile."""
        if isinstance(self.retain, int):
            return budget(max(1, round(self.surplus * self.retain)), patches)
        return budget(min(1.0, self.surplus * self.retain), patches)

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after `second`, if it is set."""
        return () if self.second is None else resolve_layers((self.second,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank visual tokens by their flow to the last token."""
        import torch

        counts = [budget(self.retain, offered) for offered in context.offered.tolist()]
        return context.best(decoder_flow(context), torch.tensor(counts, dtype=torch.int64, device="cpu"))


def tower_flow(context: TowerContext, present: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of [CLS] to each patch, and the score of each patch.

    Args:
        context: what the method is shown.
        present: (t, n) bool, patches that have not left.

    Returns:
        a / Σa and S, both (t, n) float32, 0 at patches that have left.
    """
    import torch

    value = _values(context.attention_inputs.value)
    attention = context.cls_attention().masked_fill(~present, 0.0)
    attention = attention / attention.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    product = torch.einsum("bhc,bhsc->bhs", value[:, :, 0], value)
    product[:, :, context.first :] = product[:, :, context.first :].masked_fill(~present[:, None], float("-inf"))
    alike = product.softmax(dim=-1).mean(dim=1)[:, context.first :]
    alike = alike / alike.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return attention, (attention + alike) * value.mean(dim=1)[:, context.first :].abs().sum(dim=-1)


def patches_left(attention: Tensor, present: Tensor, target: int, ahead: int) -> Tensor:
    """Patches that a cut leaves of each tile, at least `target`, (t,) int64.

    Args:
        attention: (t, n) float32, the shares of the patches in the attention of [CLS].
        present: (t, n) bool, patches that have not left.
        target: patches left after the last cut.
        ahead: layers until the last cut; 0 in the last cut.
    """
    import torch

    now = present.sum(dim=1)
    if not ahead:
        return now.clamp(max=target)
    evenness = -torch.special.xlogy(attention, attention).sum(dim=1) / now.float().log().clamp(min=1e-6)
    leaving = (now - target).float() / ahead**0.5 * (1 - evenness.square())
    return torch.maximum(now - leaving.round().long().clamp(min=0), now.clamp(max=target))


def decoder_flow(context: ReduceContext) -> Tensor:
    """Score of each fresh visual slot, by the last token of the prompt.

    Returns:
        (b, s) float32, 0 at all other slots.
    """
    import torch

    inputs, fresh, row = context.attention(), context.fresh, context.last_row
    key, value = inputs.key.float(), _values(inputs.value)
    heads = key.shape[1]
    # One row is marked in each sample (none in a row of padding), so a sum picks it without reading the device.
    query = torch.einsum("bhqd,bq->bhd", inputs.query.float(), row.float()).unflatten(1, (heads, -1))
    asking = torch.einsum("bgqc,bq->bgc", value[:, :, value.shape[2] - row.shape[1] :], row.float())
    attention = inputs.capped(torch.einsum("bgrd,bgsd->bgrs", query, key) * inputs.scaling)
    product = torch.einsum("bgc,bgsc->bgs", asking, value) / value.shape[-1] ** 0.5
    seen = fresh[:, None]
    attention = attention.masked_fill(~seen[:, None], float("-inf")).softmax(dim=-1).mean(dim=(1, 2))
    alike = product.masked_fill(~seen, float("-inf")).softmax(dim=-1).mean(dim=1)
    flow: Tensor = (attention + alike) * value.mean(dim=1).abs().sum(dim=-1)
    return flow.nan_to_num(0.0).masked_fill(~fresh, 0.0)


def _values(value: Tensor | None) -> Tensor:
    """A layer's values in float32.

    Raises:
        UnsupportedInputError: the values were not recorded.
    """
    if value is None:
        raise UnsupportedInputError(
            "FlowCut reads the values of attention, which are not known here; use a method without them, such as evit."
        )
    return value.float()


def _anyres(**fields: Any) -> FlowCut:
    """FlowCut with the paper's second cut and surplus."""
    counted = isinstance(fields.get("retain"), Integral)
    return FlowCut(**{"surplus": SURPLUS / TILES if counted else SURPLUS, "second": SECOND} | fields)


PRESETS = (
    Preset(
        "flowcut-anyres",
        _anyres,
        FlowCut,
        "FlowCut for pictures in tiles, with its second cut in the LLM",
        "arXiv 2505.19536",
    ),
)
