"""Attention of few queries to many keys on CPUs, by plain products of matrices.

Each step of decoding asks with a few columns a row. PyTorch's fused attention on CPUs is made for many queries; in
bfloat16 it then takes two to three times as long as two products of matrices (`benchmarks/short_queries.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from todre.hf.versions import ALL_ATTENTION_FUNCTIONS, attention_function

BACKEND = "sdpa"
FEW = 32
"""Most queries of each row that are answered by plain products."""


@contextmanager
def plain_short_queries() -> Iterator[None]:
    """Run attention of at most `FEW` queries by plain products, on CPUs.

    It holds inside the block, for all threads. The products of queries and keys have the model's dtype, and the softmax
    is float32, as in transformers' eager attention. Only calls that fused attention would get are changed.
    """
    before = attention_function(BACKEND)
    if before is None or isinstance(before, _Chooser):
        yield
        return
    ALL_ATTENTION_FUNCTIONS[BACKEND] = _Chooser(before)
    try:
        yield
    finally:
        # The mapping has local entries over global ones: deleting the local one brings the global one back.
        del ALL_ATTENTION_FUNCTIONS[BACKEND]
        if attention_function(BACKEND) is not before:
            ALL_ATTENTION_FUNCTIONS[BACKEND] = before


class _Chooser:
    """Chooses between fused attention and plain products, call by call."""

    def __init__(self, fused: Callable[..., Any]) -> None:
        self.fused = fused

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if query.device.type == "cpu" and query.shape[2] <= FEW and _plain(query, attention_mask, kwargs):
            return attend(query, key, value, attention_mask, kwargs.get("scaling")), None
        return self.fused(module, query, key, value, attention_mask, **kwargs)


def _plain(query: Tensor, mask: Tensor | None, kwargs: dict[str, Any]) -> bool:
    """True for attention that is nothing but a softmax of masked products.

    Without a mask, one query sees all keys; several would need the causal order that fused attention gives them.
    """
    special = kwargs.get("dropout") or kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None
    seen = query.shape[2] == 1 if mask is None else mask.ndim == 4
    return seen and not special and not torch.is_grad_enabled()


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """Softmax attention, (b, q, heads, c).

    Args:
        query: (b, heads, q, c); heads are a multiple of groups, and those that share a group stand side by side.
        key, value: (b, groups, k, c).
        mask: (b or 1, heads or 1, q, k or more), bool, True where a query sees a key, or a number to add; None shows
            all keys.
        scaling: factor on the products; None means 1/√c.
    """
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    together = (query * (width**-0.5 if scaling is None else scaling)).reshape(batch, groups, -1, width)
    scores = (together @ key.transpose(2, 3)).view(batch, heads, queries, keys)
    if mask is not None:
        own = mask[..., :keys]
        least = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~own, least) if own.dtype == torch.bool else scores + own
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    mixed = (weights.view(batch, groups, -1, keys) @ value).view(batch, heads, queries, width)
    return mixed.transpose(1, 2).contiguous()
