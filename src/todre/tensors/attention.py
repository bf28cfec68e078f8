"""See the queries and keys of one attention module, and sum attention mass without an attention map.

transformers looks its attention function up by the backend's name at each call. While a module is watched, a
dispatcher stands under that same name, calls the function it stands for, and shows the watched module's queries and
keys to the listener. It is put in right before the module runs and taken out right after, also after an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionInputs:
    """What one attention module was called with.

    Attributes:
        query: (b, heads, q, d), positions applied.
        key: (b, kv_heads, s, d), likewise; cached keys come first.
        scaling: factor on the logits.
        mask: (b or 1, 1, q or 1, s) bool or added to the logits, as the module got it; None or 2-D where it is causal.
            What it adds above 0 weighs keys (merged tokens of a vision tower), what it adds below hides them.
        softcap: bound on the logits, or None.
        segments: (m + 1,) int, where packed sequences start and end along q and s; None if there is one.
    """

    query: Tensor
    key: Tensor
    scaling: float
    mask: Tensor | None = None
    softcap: float | None = None
    segments: Tensor | None = None

    def capped(self, logits: Tensor) -> Tensor:
        """Logits after the softcap, where there is one."""
        return logits if self.softcap is None else self.softcap * (logits / self.softcap).tanh()


_ROWS_AT_ONCE = 128


def attention_mass(
    inputs: AttentionInputs, rows: Tensor, groups: Sequence[Tensor], allowed: Tensor, places: Tensor | None = None
) -> list[Tensor]:
    """Probability mass that query rows put on groups of keys, averaged over heads after the softmax.

    No (q, s) map is made: rows are taken in blocks, in float32. The module's own mask says who sees whom; without one
    attention is causal.

    Args:
        inputs: queries and keys of a decoder layer; the last q keys belong to the queries.
        rows: (b, q) bool, the query rows asked for.
        groups: (b, s) bool masks of keys.
        allowed: (b, s) bool, keys that are not padding.
        places: (m,) int64, columns that hold all rows asked for, and maybe others; None to ask the device for them.

    Returns:
        For each group, (b, q) float32: the mass of each asked row, 0 in the others.
    """
    rows_at, queries = inputs.query.shape[0], inputs.query.shape[2]
    asked = rows.any(dim=0).nonzero().flatten() if places is None else places
    results = [torch.zeros(rows_at, queries, device=inputs.query.device, dtype=torch.float32) for _ in groups]
    for block in asked.split(_ROWS_AT_ONCE):
        probabilities = _probabilities(inputs, block, allowed).mean(dim=(1, 2))
        for result, group in zip(results, groups, strict=True):
            mass = torch.einsum("bqs,bs->bq", probabilities, group.to(probabilities.dtype))
            result[:, block] = mass.masked_fill(~rows[:, block], 0.0)
    return results


def attention_scores(
    inputs: AttentionInputs, rows: Tensor, allowed: Tensor, heads: str = "mean", places: Tensor | None = None
) -> Tensor:
    """Attention probability that each key gets from query rows, summed over the rows, (b, s) float32.

    Heads are pooled after the softmax. Rows are taken in blocks, so no (q, s) map is made.

    Args:
        inputs: queries and keys of a decoder layer; the last q keys belong to the queries.
        rows: (b, q) bool, the query rows asked for.
        allowed: (b, s) bool, keys that are not padding.
        heads: `mean` or `max`.
        places: (m,) int64, columns that hold all rows asked for, and maybe others; None to ask the device for them.
    """
    total = torch.zeros(inputs.key.shape[0], inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    asked = rows.any(dim=0).nonzero().flatten() if places is None else places
    for block in asked.split(_ROWS_AT_ONCE):
        probabilities = _probabilities(inputs, block, allowed)
        pooled = probabilities.mean(dim=(1, 2)) if heads == "mean" else probabilities.amax(dim=(1, 2))
        total += torch.einsum("bqs,bq->bs", pooled, rows[:, block].to(pooled.dtype))
    return total


def _probabilities(inputs: AttentionInputs, block: Tensor, allowed: Tensor) -> Tensor:
    """(b, kv heads, repeats, len(block), s) float32 attention of some query rows; 0 in rows that see nothing."""
    query, key = inputs.query, inputs.key.float()  # products of half-precision vectors can overflow, and are coarse
    q = query[:, :, block].float().unflatten(1, (key.shape[1], query.shape[1] // key.shape[1]))
    logits = inputs.capped(torch.einsum("bgrqd,bgsd->bgrqs", q, key) * inputs.scaling)
    visible = allowed[:, None, :] & visible_keys(inputs, block)
    return logits.masked_fill(~visible[:, None, None], float("-inf")).softmax(dim=-1).nan_to_num(0.0)


def visible_keys(inputs: AttentionInputs, block: Tensor) -> Tensor:
    """(b or 1, len(block), s) bool: the keys that the query rows `block` see, padding left aside."""
    queries, slots = inputs.query.shape[2], inputs.key.shape[2]
    if inputs.mask is not None and inputs.mask.ndim == 4:
        mask = inputs.mask[:, 0, :, :slots]
        mask = mask.expand(-1, len(block), -1) if mask.shape[1] == 1 else mask[:, block]
        return mask if mask.dtype == torch.bool else mask >= 0
    slot = torch.arange(slots, device=block.device, dtype=torch.int64)
    return (slot[None, :] <= (slots - queries + block)[:, None])[None]


def cls_attention(inputs: AttentionInputs, leading: int = 1) -> Tensor:
    """Attention of a vision tower's [CLS] (token 0) to the patches, averaged over heads, (tiles, patches) float32.

    ToDRE eq. 3, with each head normalised over all keys as the tower's softmax does, and the keys of the `leading`
    tokens that stand before the patches ([CLS], registers) dropped.
    """
    logits = torch.einsum("bhd,bhsd->bhs", inputs.query[:, :, 0].float(), inputs.key.float()) * inputs.scaling
    logits = logits + _weight(inputs) + _between(inputs, slice(0, 1)).squeeze(2)
    return logits.softmax(dim=-1).mean(dim=1)[:, leading:]


def received_attention(inputs: AttentionInputs) -> Tensor:
    """Mean attention that each token of a vision tower receives, averaged over heads and queries, (tiles, tokens).

    Queries are taken in blocks, so no whole map is made. The mean is over the queries that see a token, so padding and
    pictures packed together do not count. For towers without a [CLS] (ToDRE v2, section 4.1).
    """
    if inputs.segments is not None and len(inputs.segments) > 2:
        bounds = [int(bound) for bound in inputs.segments.tolist()]
        parts = [_received(inputs, start, end) for start, end in pairwise(bounds)]
        return torch.cat(parts, dim=1)
    return _received(inputs, 0, inputs.query.shape[2])


def _received(inputs: AttentionInputs, start: int, end: int) -> Tensor:
    key = inputs.key[:, :, start:end].float().repeat_interleave(inputs.query.shape[1] // inputs.key.shape[1], dim=1)
    total = torch.zeros(key.shape[0], key.shape[2], device=key.device, dtype=torch.float32)
    asking = torch.zeros_like(total)
    for block in torch.arange(start, end, device=key.device, dtype=torch.int64).split(_ROWS_AT_ONCE):
        logits = torch.einsum("bhqd,bhsd->bhqs", inputs.query[:, :, block].float(), key) * inputs.scaling
        logits = logits + _weight(inputs)[..., None, start:end] + _between(inputs, block)[..., start:end]
        visible = torch.ones(key.shape[0], len(block), key.shape[2], dtype=torch.bool, device=key.device)
        if inputs.mask is not None and inputs.mask.ndim == 4 and not _by_heads(inputs.mask):
            visible = visible_keys(inputs, block)[:, :, start:end].expand(key.shape[0], -1, -1)
            logits = logits.masked_fill(~visible[:, None], float("-inf"))
        total += logits.softmax(dim=-1).nan_to_num(0.0).mean(dim=1).sum(dim=1)
        asking += visible.sum(dim=1)
    return total / asking.clamp(min=1)


def _by_heads(mask: Tensor) -> bool:
    """Whether a tower adds something else for each head and pair of tokens (relative positions); it hides nothing."""
    return mask.ndim == 4 and mask.shape[1] > 1 and mask.shape[2] > 1 and mask.dtype != torch.bool


def _between(inputs: AttentionInputs, rows: Tensor | slice) -> Tensor:
    """(b or 1, heads or 1, rows or 1, s) float32: what a tower adds for pairs of tokens; 0 where it adds nothing."""
    if inputs.mask is None or not _by_heads(inputs.mask):
        return torch.zeros(1, 1, 1, inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    return inputs.mask[:, :, rows, : inputs.key.shape[2]].float()


def _weight(inputs: AttentionInputs) -> Tensor:
    """(b or 1, 1, s) float32: how much is added for each key, whatever the query; what hides keys is left aside."""
    mask = inputs.mask
    if mask is None or mask.ndim != 4 or mask.shape[2] != 1 or mask.dtype == torch.bool:
        return torch.zeros(1, 1, inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    return mask[:, :, 0, : inputs.key.shape[2]].float().clamp(min=0)
