"""Attention of selected query rows, computed without a whole attention map.

Everything here works on `AttentionInputs`, the recorded queries and keys of one attention module. `hf/attention_tap.py`
records them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionInputs:
    """The arguments that one attention module was called with.

    Attributes:
        query: (b, heads, q, d), rotary positions applied.
        key: (b, kv_heads, s, d), rotary positions applied; cached keys come first.
        scaling: factor on the logits.
        mask: (b or 1, 1, q or 1, s), bool or added to the logits, as the module got it; None or 2-D where attention is
            causal. Positive values weigh keys (merged tokens of a vision tower), negative values hide them.
        logit_cap: the logits are squashed into (-logit_cap, logit_cap) by tanh; None for no cap.
        segments: (m + 1,) int, the bounds along q and s of sequences packed into one row; None for a single sequence.
        value: (b, kv_heads, s, d'), cached values first; None where only queries and keys are known.
    """

    query: Tensor
    key: Tensor
    scaling: float
    mask: Tensor | None = None
    logit_cap: float | None = None
    segments: Tensor | None = None
    value: Tensor | None = None

    def capped(self, logits: Tensor) -> Tensor:
        """Logits squashed by `logit_cap`, or unchanged without one."""
        return logits if self.logit_cap is None else self.logit_cap * (logits / self.logit_cap).tanh()


_ROWS_AT_ONCE = 128


def attention_mass(
    inputs: AttentionInputs, rows: Tensor, groups: Sequence[Tensor], allowed: Tensor, places: Tensor | None = None
) -> list[Tensor]:
    """Attention mass of query rows on groups of keys, averaged over heads.

    Rows are computed in blocks, in float32, so no (q, s) map is made. The module's own mask decides which keys a query
    sees; without a mask, attention is causal.

    Args:
        inputs: queries and keys of a decoder layer; the last q keys belong to the queries.
        rows: (b, q) bool, the query rows to compute.
        groups: (b, s) bool masks of keys.
        allowed: (b, s) bool, keys that are not padding.
        places: (m,) int64, query columns that include all of `rows`; None to read them from the device.

    Returns:
        One (b, q) float32 tensor for each group: the mass of each query row in `rows`, 0 in all other rows.
    """
    rows_at, queries = inputs.query.shape[0], inputs.query.shape[2]
    used = rows.any(dim=0).nonzero().flatten() if places is None else places
    results = [torch.zeros(rows_at, queries, device=inputs.query.device, dtype=torch.float32) for _ in groups]
    for block in used.split(_ROWS_AT_ONCE):
        probabilities = _probabilities(inputs, block, allowed).mean(dim=(1, 2))
        for result, group in zip(results, groups, strict=True):
            mass = torch.einsum("bqs,bs->bq", probabilities, group.to(probabilities.dtype))
            result[:, block] = mass.masked_fill(~rows[:, block], 0.0)
    return results


def attention_scores(
    inputs: AttentionInputs, rows: Tensor, allowed: Tensor, heads: str = "mean", places: Tensor | None = None
) -> Tensor:
    """Attention probability that each key gets, summed over query rows.

    Heads are pooled after the softmax. Rows are computed in blocks, so no (q, s) map is made.

    Args:
        inputs: queries and keys of a decoder layer; the last q keys belong to the queries.
        rows: (b, q) bool, the query rows to sum over.
        allowed: (b, s) bool, keys that are not padding.
        heads: how heads are pooled, `mean` or `max`.
        places: (m,) int64, query columns that include all of `rows`; None to read them from the device.

    Returns:
        (b, s) float32.
    """
    total = torch.zeros(inputs.key.shape[0], inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    used = rows.any(dim=0).nonzero().flatten() if places is None else places
    for block in used.split(_ROWS_AT_ONCE):
        probabilities = _probabilities(inputs, block, allowed)
        pooled = probabilities.mean(dim=(1, 2)) if heads == "mean" else probabilities.amax(dim=(1, 2))
        total += torch.einsum("bqs,bq->bs", pooled, rows[:, block].to(pooled.dtype))
    return total


def attention_information(
    inputs: AttentionInputs, rows: Tensor, keys: Tensor, allowed: Tensor, places: Tensor | None = None
) -> Tensor:
    """Mutual information of query rows and keys in bits, averaged over heads.

    Each of the t query rows counts 1/t. With A the attention of a row, and Ā its mean over the rows, a head has the
    information Σ A·log2(A / Ā) / t over rows and `keys`. What a row pays to other keys is left out, and A is not scaled
    up for it. Heads are not pooled before. Rows are computed in blocks, in float32, so no (q, s) map is made.

    Args:
        inputs: queries and keys of a decoder layer; the last q keys belong to the queries.
        rows: (b, q) bool, the query rows.
        keys: (b, s) bool, the keys.
        allowed: (b, s) bool, keys that are not padding.
        places: (m,) int64, query columns that include all of `rows`; None to read them from the device.

    Returns:
        (b,) float32, at least 0; 0 without query rows or keys, and exactly 0 for a single query row.
    """
    used = rows.any(dim=0).nonzero().flatten() if places is None else places
    blocks = used.split(_ROWS_AT_ONCE)
    count = rows.sum(dim=1).clamp(min=1).float()

    def paid(block: Tensor) -> Tensor:
        pairs = rows[:, block][:, None, None, :, None] & keys[:, None, None, None, :]
        return _probabilities(inputs, block, allowed).masked_fill(~pairs, 0.0)

    size = (len(rows), inputs.key.shape[1], inputs.query.shape[1] // inputs.key.shape[1], keys.shape[1])
    mean = torch.zeros(size, device=inputs.key.device, dtype=torch.float32)
    for block in blocks:
        mean += paid(block).sum(dim=3) / count[:, None, None, None]
    mean = mean.clamp(min=torch.finfo(torch.float32).tiny)[:, :, :, None]
    total = torch.zeros_like(count)
    for block in blocks:  # once more, as differences of large sums would lose what rows have in common
        part = paid(block)
        total += torch.xlogy(part, part / mean).sum(dim=(1, 2, 3, 4))
    return (total / (count * (inputs.query.shape[1] * math.log(2)))).clamp(min=0)


def _probabilities(inputs: AttentionInputs, block: Tensor, allowed: Tensor) -> Tensor:
    """Attention of the query rows `block`, 0 in rows that see no key.

    Returns:
        (b, kv_heads, repeats, len(block), s) float32.
    """
    query, key = inputs.query, inputs.key.float()  # products of half-precision vectors can overflow, and are coarse
    q = query[:, :, block].float().unflatten(1, (key.shape[1], query.shape[1] // key.shape[1]))
    logits = inputs.capped(torch.einsum("bgrqd,bgsd->bgrqs", q, key) * inputs.scaling)
    visible = allowed[:, None, :] & visible_keys(inputs, block)
    return logits.masked_fill(~visible[:, None, None], float("-inf")).softmax(dim=-1).nan_to_num(0.0)


def visible_keys(inputs: AttentionInputs, block: Tensor) -> Tensor:
    """The keys that the query rows `block` see; padding is not considered.

    Returns:
        (b or 1, len(block), s) bool.
    """
    queries, slots = inputs.query.shape[2], inputs.key.shape[2]
    if inputs.mask is not None and inputs.mask.ndim == 4:
        mask = inputs.mask[:, 0, :, :slots]
        mask = mask.expand(-1, len(block), -1) if mask.shape[1] == 1 else mask[:, block]
        return mask if mask.dtype == torch.bool else mask >= 0
    slot = torch.arange(slots, device=block.device, dtype=torch.int64)
    return (slot[None, :] <= (slots - queries + block)[:, None])[None]


def cls_attention(inputs: AttentionInputs, leading: int = 1) -> Tensor:
    """Attention of a vision tower's [CLS] (token 0) to the patches, mean over heads.

    ToDRE eq. 3. Each head is normalised over all keys, as the tower's softmax does; the `leading` keys before the
    patches ([CLS], registers) are then dropped.

    Returns:
        (tiles, patches) float32.
    """
    logits = torch.einsum("bhd,bhsd->bhs", inputs.query[:, :, 0].float(), inputs.key.float()) * inputs.scaling
    logits = logits + _weight(inputs) + _between(inputs, slice(0, 1)).squeeze(2)
    return logits.softmax(dim=-1).mean(dim=1)[:, leading:]


def received_attention(inputs: AttentionInputs, even: bool = False) -> Tensor:
    """Mean attention that each token of a vision tower receives.

    For towers without a [CLS]. The mean is over heads and over the queries that see a token, so padding and other
    pictures in the same row do not count. Queries are computed in blocks, so no whole map is made.

    Args:
        inputs: queries and keys of the layer.
        even: multiply a query's attention by the number of keys that it sees. Even attention is then 1 in a picture of
            any size, so that tokens of several pictures can be compared; as it is, a small picture's are larger.

    Returns:
        (tiles, tokens) float32.
    """
    if inputs.segments is not None and len(inputs.segments) > 2:
        bounds = [int(bound) for bound in inputs.segments.tolist()]
        parts = [_received(inputs, start, end, even) for start, end in pairwise(bounds)]
        return torch.cat(parts, dim=1)
    return _received(inputs, 0, inputs.query.shape[2], even)


def _received(inputs: AttentionInputs, start: int, end: int, even: bool) -> Tensor:
    key = inputs.key[:, :, start:end].float().repeat_interleave(inputs.query.shape[1] // inputs.key.shape[1], dim=1)
    total = torch.zeros(key.shape[0], key.shape[2], device=key.device, dtype=torch.float32)
    seeing = torch.zeros_like(total)
    for block in torch.arange(start, end, device=key.device, dtype=torch.int64).split(_ROWS_AT_ONCE):
        logits = torch.einsum("bhqd,bhsd->bhqs", inputs.query[:, :, block].float(), key) * inputs.scaling
        logits = logits + _weight(inputs)[..., None, start:end] + _between(inputs, block)[..., start:end]
        visible = torch.ones(key.shape[0], len(block), key.shape[2], dtype=torch.bool, device=key.device)
        if inputs.mask is not None and inputs.mask.ndim == 4 and not _by_heads(inputs.mask):
            visible = visible_keys(inputs, block)[:, :, start:end].expand(key.shape[0], -1, -1)
            logits = logits.masked_fill(~visible[:, None], float("-inf"))
        paid = logits.softmax(dim=-1).nan_to_num(0.0).mean(dim=1)
        total += (paid * visible.sum(dim=-1, keepdim=True) if even else paid).sum(dim=1)
        seeing += visible.sum(dim=1)
    return total / seeing.clamp(min=1)


def _by_heads(mask: Tensor) -> bool:
    """True for a mask that holds a bias per head and pair of tokens; it hides nothing."""
    return mask.ndim == 4 and mask.shape[1] > 1 and mask.shape[2] > 1 and mask.dtype != torch.bool


def _between(inputs: AttentionInputs, rows: Tensor | slice) -> Tensor:
    """Bias that a tower's mask adds per pair of tokens (relative positions), or zeros.

    Returns:
        (b or 1, heads or 1, rows or 1, s) float32.
    """
    if inputs.mask is None or not _by_heads(inputs.mask):
        return torch.zeros(1, 1, 1, inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    return inputs.mask[:, :, rows, : inputs.key.shape[2]].float()


def _weight(inputs: AttentionInputs) -> Tensor:
    """Bias that the mask adds to all logits of a key.

    Negatives hide a key and count as 0, but minus infinity stays: it hides the key for good.

    Returns:
        (b or 1, 1, s) float32.
    """
    mask = inputs.mask
    if mask is None or mask.ndim != 4 or mask.shape[2] != 1 or mask.dtype == torch.bool:
        return torch.zeros(1, 1, inputs.key.shape[2], device=inputs.key.device, dtype=torch.float32)
    weight = mask[:, :, 0, : inputs.key.shape[2]].float()
    return torch.where(weight.isneginf(), weight, weight.clamp(min=0))
