"""What the methods that act inside the LLM share: counts row by row, and where a row's visual tokens stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from todre.methods.shared.budgets import Counting, left_after

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext


def row_counts(context: ReduceContext, rule: Callable[[int], int]) -> Tensor:
    """(b,) int64: what `rule` makes of the number of tokens that entered in each row."""
    import torch

    return torch.tensor([rule(int(count)) for count in context.entered.tolist()], dtype=torch.int64, device="cpu")


def counts_left(context: ReduceContext, retain: float, counting: Counting) -> Tensor:
    """(b,) int64: how many tokens a method with one stage leaves in each row after this layer."""
    return row_counts(context, lambda entered: left_after(retain, counting, entered, context.layer, context.n_layers))


def fresh_slots(context: ReduceContext, row: int) -> Tensor:
    """(n,) int64: the key slots that hold visual tokens of this forward in one row, in order."""
    from todre.tensors.transfer import known_places

    return known_places(context.fresh[row], context.fresh_counts[row])


def text_columns(context: ReduceContext, row: int) -> Tensor:
    """(t,) int64: the columns in flight that hold text after a picture in one row, in order."""
    from todre.tensors.transfer import known_places

    return known_places(context.text_rows[row], context.text_counts[row])


def still_there(context: ReduceContext, counts: Tensor) -> list[int]:
    """How many visual tokens of this forward each row has left if at most `counts` (b,) stay."""
    return [min(count, fresh) for count, fresh in zip(counts.tolist(), context.fresh_counts, strict=True)]


def counted(member: Tensor, groups: int) -> Tensor:
    """(groups,) int64: how many times each group stands in `member`, without asking the device for the largest."""
    return member.new_zeros(groups).index_add_(0, member, member.new_ones(len(member)))


def columns_of(context: ReduceContext, slots: Tensor) -> Tensor:
    """The columns in flight that stand in key slots."""
    return slots - (context.kinds.shape[1] - context.queries)
