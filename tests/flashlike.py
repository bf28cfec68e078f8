"""FlashAttention's calling rules on a CPU: unpadded by a 2-D mask, causal from the lower right, packed by positions.

The rules are those of transformers' flash integration; the arithmetic is a plain softmax. Registered for a test under
`flash_attention_2`, so that masks are built as they are for the real kernel.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "flash_attention_2"


def flash_like(module, query, key, value, attention_mask, scaling=None, position_ids=None, is_causal=None, **kwargs):
    """(b, heads, q, d) in, (b, q, heads, d) out; padded queries give zeros."""
    if attention_mask is not None and attention_mask.ndim != 2:
        raise ValueError(f"FlashAttention takes a 2-D padding mask, not {attention_mask.ndim}-D")
    rows, heads, queries, _ = query.shape
    slots = key.shape[2]
    key = key.repeat_interleave(heads // key.shape[1], 1)
    value = value.repeat_interleave(heads // value.shape[1], 1)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    out = torch.zeros_like(query)
    for row in range(rows):
        valid = attention_mask[row].bool() if attention_mask is not None else torch.ones(slots, dtype=torch.bool)
        if len(valid) != slots:
            raise ValueError(f"a mask of {len(valid)} for {slots} keys")
        asking = valid[-queries:]
        k, v, q = key[row][:, valid], value[row][:, valid], query[row][:, asking]
        logits = q @ k.transpose(-1, -2) * scaling
        if causal:
            later = torch.arange(k.shape[1])[None] > torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None]
            logits = logits.masked_fill(later, float("-inf"))
        if attention_mask is None and packed(position_ids, rows):
            start = (torch.diff(position_ids[0], prepend=position_ids[0, :1] - 1) != 1).cumsum(0)
            logits = logits.masked_fill(start[None, :] != start[:, None], float("-inf"))
        out[row][:, asking] = logits.softmax(-1) @ v
    return out.transpose(1, 2), None


def packed(position_ids, rows) -> bool:
    """Whether FlashAttention's integration reads these positions as several sequences in one row."""
    if position_ids is None or rows != 1 or position_ids.shape[-1] == 1:
        return False
    steady = torch.arange(position_ids.shape[1]) + position_ids.min()
    return bool((steady - position_ids).abs().sum())


@contextmanager
def flash_attention(model, config=None):
    """Run the decoder of `model` under FlashAttention's rules, or the part whose config is given."""
    config = config or model.config.text_config
    before = config._attn_implementation
    ALL_ATTENTION_FUNCTIONS[NAME] = flash_like
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        del ALL_ATTENTION_FUNCTIONS[NAME]
