"""Selection on an accelerator: all steps are queued, and nothing is read back.

On the CPU the code reads numbers to decide which tokens are identical and which need rescaling; here both are computed
for all tokens, without reading. Only the error for tokens that are not finite cannot be raised this way. Such tokens
are chosen before all others, so that the fault reaches the model's output as it would without pruning. The loop works
wherever torch does; the kernels of `triton_kernels` are tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["k_center", "max_sum"]

# Rows are brought to a largest magnitude between 2**4 and 2**5: squares and products stay inside every float's range.
_EXPONENT = 5
# Numbers hashed at once, to bound memory.
_HASHED = 1 << 24


@dataclass(frozen=True)
class QueuedRows:
    """Tokens of one or several samples, prepared without reading their values.

    Attributes:
        tokens: (n, d), each scaled by a power of two, in the caller's dtype; zeros where `broken`.
        scale: (n,) float32 (float64 for float64 tokens), one over each token's norm; 0 for zero and broken tokens.
        twin: (n,) int64, the lowest row that holds an identical token of the same sample.
        broken: (n,) bool, tokens that hold NaN or infinite values.
    """

    tokens: Tensor
    scale: Tensor
    twin: Tensor
    broken: Tensor

    def sample(self, start: int, end: int) -> QueuedRows:
        """The rows of one sample, from `start` to `end`."""
        return QueuedRows(
            self.tokens[start:end], self.scale[start:end], self.twin[start:end] - start, self.broken[start:end]
        )


@torch.no_grad()
def queued_rows(x: Tensor, sample: Tensor) -> QueuedRows:
    """Prepare tokens without reading their values.

    Args:
        x: (n, d).
        sample: (n,) int64, the sample of each token.
    """
    x = x.detach()
    largest = x.abs().amax(dim=1)
    broken = ~largest.isfinite()
    shift = _EXPONENT - torch.frexp(largest.masked_fill(broken, 1).float()).exponent
    if x.dtype == torch.float64:
        shift = _EXPONENT - torch.frexp(largest.masked_fill(broken, 1)).exponent
    half = shift.div(2, rounding_mode="floor")
    x = x.masked_fill(broken[:, None], 0)
    for part in (half, shift - half):  # at once, the factor itself could overflow
        x = x * torch.exp2(part.to(largest.dtype))[:, None].to(x.dtype)
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    norms = torch.linalg.vector_norm(x, dim=1, dtype=exact)
    scale = torch.where(norms > 0, norms.reciprocal(), 0)
    twin = _twins(x, sample)
    return QueuedRows(x, scale[twin], twin, broken)


@torch.no_grad()
def queued_order(
    rows: QueuedRows, k: int, pivot: Tensor, rule: Rule, offset: Tensor | None = None, weight: float = 1.0
) -> Tensor:
    """The k picks of one sample in order.

    The next pick is always the token with the lowest `offset` + `weight` · fold, where the fold of its cosines with the
    chosen tokens is their maximum or, for `max_sum`, their sum.

    Args:
        rows: tokens of the sample.
        k: number of picks.
        pivot: () int64 on the tokens' device, the first pick; brought into range.
        rule: which fold is used.
        offset: (n,), number added to each token's fold; None for 0.
        weight: factor on the fold if there is an `offset`.

    Returns:
        (k,) int64 on the tokens' device.
    """
    tokens = rows.tokens if rows.tokens.dtype == torch.float64 else rows.tokens.float()
    exact = torch.float64 if rule == "max_sum" or offset is not None else tokens.dtype
    folded = torch.full((len(tokens),), 0.0 if rule == "max_sum" else -torch.inf, dtype=exact, device=tokens.device)
    taken = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    order = torch.zeros(k, dtype=torch.int64, device=tokens.device)
    order[0] = pivot.clamp(0, len(tokens) - 1)
    for step in range(1, k):
        pick = order[step - 1 : step]
        taken.index_fill_(0, pick, True)
        cosines = _cosines(rows, tokens, pick)
        folded = folded + cosines if rule == "max_sum" else torch.maximum(folded, cosines.to(exact))
        value = folded if offset is None else offset + weight * folded
        value = value.masked_fill(rows.broken, -torch.inf).masked_fill(taken, torch.inf)
        order[step] = value.argmin()
    return order


def _cosines(rows: QueuedRows, tokens: Tensor, pick: Tensor) -> Tensor:
    """Cosines of the token `pick` (1,) with every token, (n,), at full precision.

    Identical tokens get the same cosines.
    """
    at = rows.twin.index_select(0, pick)
    vector = tokens.index_select(0, at)[0] * rows.scale.index_select(0, at)
    with torch.autocast(tokens.device.type, enabled=False):
        return ((tokens @ vector) * rows.scale).index_select(0, rows.twin)


def _twins(x: Tensor, sample: Tensor) -> Tensor:
    """For each row the lowest row of its sample with the same values (-0 equals 0)."""
    n = len(x)
    keys, order = _keys(x, sample).sort(stable=True)
    begins = torch.ones(n, dtype=torch.bool, device=x.device)
    begins[1:] = keys[1:] != keys[:-1]
    here = torch.arange(n, device=x.device, dtype=torch.int64)
    first = torch.where(begins, here, 0).cummax(dim=0).values
    twin = torch.empty_like(here).scatter_(0, order, order[first])
    same = (x == x.index_select(0, twin)).all(dim=1) & (sample == sample[twin])
    return torch.where(same, twin, here)


def _keys(x: Tensor, sample: Tensor) -> Tensor:
    """A 64-bit hash of each row and its sample.

    The hash adds whole numbers, so the order of the additions does not change it.
    """
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    keys = _mixed(sample + x.shape[1])
    step = max(_HASHED // max(len(x), 1), 1)
    for start in range(0, x.shape[1], step):
        part = (x[:, start : start + step] + 0.0).contiguous().view(whole).long()
        columns = torch.arange(start, start + part.shape[1], device=x.device, dtype=torch.int64)
        keys = keys + (part * _mixed(columns)).sum(dim=1)
    return keys


def _mixed(numbers: Tensor) -> Tensor:
    """Pseudo-random odd 64-bit numbers, one for each of `numbers`."""
    mixed = (numbers + 1) * -7046029254386353131
    mixed = (mixed ^ (mixed >> 31)) * -4658895280553007687
    return (mixed ^ (mixed >> 29)) | 1
