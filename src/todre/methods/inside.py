"""What the methods that act inside the LLM share: counts row by row, and the best of a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from todre.reduction import ReduceContext


def row_counts(context: ReduceContext, rule: Callable[[int], int]) -> Tensor:
    """(b,) int64: what `rule` makes of the number of tokens that entered in each row."""
    import torch

    return torch.tensor([rule(int(count)) for count in context.entered.tolist()])


def fresh_slots(context: ReduceContext, row: int) -> Tensor:
    """(n,) int64: the key slots that hold visual tokens of this forward in one row, in order."""
    return context.fresh[row].nonzero().flatten()


def columns_of(context: ReduceContext, slots: Tensor) -> Tensor:
    """The columns in flight that stand in key slots."""
    return slots - (context.kinds.shape[1] - context.queries)


def best(scores: Tensor, count: int) -> Tensor:
    """The places of the `count` highest scores (n,), highest first; ties go to the first."""
    return scores.argsort(descending=True, stable=True)[: max(count, 0)]
