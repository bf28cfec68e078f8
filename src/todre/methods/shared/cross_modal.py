"""How much text and visual tokens attend to each other: the ratios of ToDRE eq. 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext


def text_to_visual(context: ReduceContext, admissible: bool = True) -> Tensor:
    """Mean attention mass of text queries on visual keys, ToDRE eq. 7.

    Args:
        context: what a method is shown after the layer.
        admissible: whether only queries that can see such a key count.

    Returns:
        (b,) float32; NaN where no query qualifies.
    """
    from todre.tensors.columns import TEXT, VISUAL

    return _mean_mass(context, TEXT, VISUAL, admissible)


def visual_to_text(context: ReduceContext, admissible: bool = True) -> Tensor:
    """Mean attention mass of visual queries on text keys, ToDRE eq. 7.

    Args:
        context: what a method is shown after the layer.
        admissible: whether only queries that can see such a key count.

    Returns:
        (b,) float32; NaN where no query qualifies.
    """
    from todre.tensors.columns import TEXT, VISUAL

    return _mean_mass(context, VISUAL, TEXT, admissible)


def _mean_mass(context: ReduceContext, query_kind: int, key_kind: int, admissible: bool) -> Tensor:
    """Mean attention mass of queries of one kind on keys of another.

    Each softmax row sums to one over S, V and T, so eq. 7's ratio of sums is the mean mass. With `admissible`, queries
    that can see no such key are left out, as their mass is always zero. Without it they count, as in eq. 7.
    """
    import torch

    from todre.tensors.attention import attention_mass
    from todre.tensors.columns import PAD, VISUAL

    places = context.places(query_kind)
    text_last = context.causal and context.row_counts is not None and not context.row_counts.text_first
    if query_kind == VISUAL and admissible and text_last:  # no visual query sees text
        return context.hidden.new_full(context.kinds.shape[:1], torch.nan, dtype=torch.float32)
    target = context.kinds == key_kind
    rows = context.kinds[:, -context.queries :] == query_kind
    seeing = rows & _sees(context, target)
    (mass,) = attention_mass(context.attention(), seeing, [target], context.kinds != PAD, places)
    count = (seeing if admissible else rows).sum(dim=1)
    return torch.where(count > 0, mass.sum(dim=1) / count, torch.nan)


def _sees(context: ReduceContext, target: Tensor) -> Tensor:
    """Queries that can see some key of `target`, (b, q) bool."""
    import torch

    from todre.tensors.attention import visible_keys

    inputs = context.attention()
    if inputs.mask is None or inputs.mask.ndim != 4:
        return target.cumsum(dim=1)[:, -context.queries :] > 0
    block = torch.arange(context.queries, device=target.device, dtype=torch.int64)
    return (visible_keys(inputs, block) & target[:, None, :]).any(dim=-1)
