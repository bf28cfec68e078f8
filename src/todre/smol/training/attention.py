"""Attention over a shared prefix and chunks of questions behind it.

Two small products take the place of one large masked product; on a CPU in bfloat16 this is about three times as fast.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "todre-chunks"
_ROWS = 256


def use_chunk_attention(decoder: Any) -> None:
    """Switch a decoder in training to `chunk_attention`."""
    AttentionInterface.register(NAME, chunk_attention)
    decoder.set_attn_implementation(NAME)


def chunk_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within the prefix, and chunks that see it and themselves.

    Args:
        module: the attention layer; not read.
        query: (b, heads, p + c·l, d).
        key, value: (b, groups, p + c·l, d).
        mask: (b, c, l, l) bool, which tokens of its own chunk a token sees; the prefix has the remaining p tokens.
        scaling: factor on the products of queries and keys; None means 1/√d.
        kwargs: other arguments of attention functions; not read.

    Returns:
        (b, p + c·l, heads, d), and None in place of attention weights.
    """
    batch, heads, total, size = query.shape
    groups, (count, length) = key.shape[1], mask.shape[1:3]
    cut = total - count * length
    scaled = (query * (scaling or size**-0.5)).view(batch, groups, heads // groups, total, size)
    prefix = [_causal_rows(scaled, key, value, start, min(cut, start + _ROWS)) for start in range(0, cut, _ROWS)]
    behind = _behind(scaled[:, :, :, cut:], key, value, mask, cut)
    mixed = torch.cat([*prefix, behind], dim=3).view(batch, heads, total, size)
    return mixed.transpose(1, 2).contiguous(), None


def _causal_rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """(b, groups, heads of a group, end − start, d) rows of causal attention."""
    batch, groups, share, _, size = query.shape
    rows = query[:, :, :, start:end].reshape(batch, groups, share * (end - start), size)
    scores = torch.matmul(rows, key[:, :, :end].transpose(-1, -2)).view(batch, groups, share, end - start, end)
    seen = torch.ones(end - start, end, dtype=torch.bool, device=query.device).tril(start)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    mixed = torch.matmul(weights.view(batch, groups, share * (end - start), end), value[:, :, :end])
    return mixed.view(batch, groups, share, end - start, size)


def _behind(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, cut: int) -> torch.Tensor:
    """(b, groups, heads of a group, c·l, d) attention of the chunks' tokens.

    One softmax runs over the prefix and the own chunk together.
    """
    batch, groups, share, total, size = query.shape
    count, length = mask.shape[1:3]
    flat = query.reshape(batch, groups, share * total, size)
    shared = torch.matmul(flat, key[:, :, :cut].transpose(-1, -2)).view(batch, groups, share, count, length, cut)
    by_chunk = (batch, groups, count, share * length, size)
    own_query = query.view(batch, groups, share, count, length, size).transpose(2, 3).reshape(by_chunk)
    own_key = key[:, :, cut:].reshape(batch, groups, count, length, size)
    own_value = value[:, :, cut:].reshape(batch, groups, count, length, size)
    own = torch.matmul(own_query, own_key.transpose(-1, -2)).view(batch, groups, count, share, length, length)
    own = own.masked_fill(~mask[:, None, :, None], float("-inf")).transpose(2, 3)
    # Split, not sliced: the gradient of a slice is written into zeros of the whole, which took a tenth of a step.
    prefix_weights, own_weights = torch.cat([shared, own], dim=-1).softmax(-1).split([cut, length], dim=-1)
    from_prefix = torch.matmul(prefix_weights.reshape(batch, groups, share * total, cut), value[:, :, :cut])
    own_weights = own_weights.transpose(2, 3).reshape(batch, groups, count, share * length, length)
    from_own = torch.matmul(own_weights, own_value).view(batch, groups, count, share, length, size).transpose(2, 3)
    return from_prefix.view(batch, groups, share, total, size) + from_own.reshape(batch, groups, share, total, size)
