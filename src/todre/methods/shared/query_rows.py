"""Helpers of methods that act inside the LLM: counts per row, slots, columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from todre.methods.shared.budgets import Counting, left_after

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext


def row_counts(context: ReduceContext, rule: Callable[[int], int]) -> Tensor:
    """`rule` applied to the number of tokens that entered, row by row, (b,) int64."""
    import torch

    return torch.tensor([rule(int(count)) for count in context.entered.tolist()], dtype=torch.int64, device="cpu")


def counts_left(context: ReduceContext, retain: float, counting: Counting) -> Tensor:
    """Tokens that a method with one stage leaves in each row, (b,) int64."""
    return row_counts(context, lambda entered: left_after(retain, counting, entered, context.layer, context.n_layers))


def fresh_slots(context: ReduceContext, row: int) -> Tensor:
    """Key slots of one row's visual tokens of this forward, (n,) int64, in order."""
    from todre.tensors.transfer import known_places

    return known_places(context.fresh[row], context.fresh_counts[row])


def text_columns(context: ReduceContext, row: int) -> Tensor:
    """Columns in flight of one row that hold text after a picture.

    Returns:
        (t,) int64, in order.
    """
    from todre.tensors.transfer import known_places

    return known_places(context.text_rows[row], context.text_counts[row])


def remaining_counts(context: ReduceContext, counts: Tensor) -> list[int]:
    """Visual tokens of this forward left in each row if at most `counts` (b,) stay."""
    return [min(count, fresh) for count, fresh in zip(counts.tolist(), context.fresh_counts, strict=True)]


def next_layer_scores(context: ReduceContext) -> Tensor:
    """Attention that the last token would pay in the next layer, (b, s) float32.

    The next layer's queries and keys are computed from the current hidden states, of the columns in flight alone. The
    softmax is over these columns, then heads are averaged; slots of earlier turns get 0.
    """
    from torch.nn.functional import pad

    from todre.tensors.attention import attention_scores
    from todre.tensors.columns import PAD

    following, in_flight = context.peek(), context.kinds[:, -context.queries :] != PAD
    there = following.query.device  # the next layer may be on another device
    scores = attention_scores(
        following, context.last_row.to(there), in_flight.to(there), places=context.last_places.to(there)
    ).to(in_flight.device)
    return pad(scores, (context.kinds.shape[1] - context.queries, 0))


def group_sizes(member: Tensor, groups: int) -> Tensor:
    """Members of each group, (groups,) int64.

    Args:
        member: (n,) int64, the number of the group that each member belongs to.
        groups: number of groups; passing it saves reading the device.
    """
    return member.new_zeros(groups).index_add_(0, member, member.new_ones(len(member)))


def columns_of(context: ReduceContext, slots: Tensor) -> Tensor:
    """Columns in flight of the key slots `slots`."""
    return slots - (context.kinds.shape[1] - context.queries)
