"""Cosines of all pairs of tokens, where the tokens are."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.device_loops import QueuedRows, queued_rows
from todre.select.diversity import HOSTED
from todre.select.gram import gram
from todre.select.rows import float32_is_reduced, unit_rows


@torch.no_grad()
def likeness(x: Tensor, to: Tensor | None = None) -> Tensor:
    """Cosines of the tokens x with the tokens `to`.

    Identical tokens have identical cosines, exactly 1 with each other if `to` is None. A zero token has cosine 0 with
    every token.

    Args:
        x: (n, d), any float dtype and device.
        to: (m, d) on the same device; None for x itself.

    Returns:
        (n, m) on x's device, float32 (float64 if x is float64, or where float32 products run at reduced precision).

    Raises:
        InvalidValueError: a value is NaN or infinite. On an accelerator values are not read back: rows of tokens in x
            that are not finite are NaN, and tokens in `to` that are not finite count as zero tokens.
    """
    if x.device.type not in HOSTED:
        return _queued(x, to)
    if to is None:
        return gram(x).to(x.device)
    others = unit_rows(to)
    rows = unit_rows(x)
    found = rows.products(others.tokens * others.scale[:, None]).T.clamp(max=1.0)
    return (found if others.twin is None else found[:, others.twin]).to(x.device)


def _queued(x: Tensor, to: Tensor | None) -> Tensor:
    rows = _prepared(x)
    others = rows if to is None else _prepared(to)
    kind = torch.float64 if x.dtype == torch.float64 or float32_is_reduced(x.device) else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        found = rows.tokens.to(kind) @ others.tokens.to(kind).T
    found = found * rows.scale.to(kind)[:, None] * others.scale.to(kind)
    if to is None:
        upper = found.triu(1)
        found = upper + upper.T  # symmetric to the last bit
    found = found.index_select(0, rows.twin).index_select(1, others.twin)
    if to is None:
        same = (rows.twin[:, None] == rows.twin) & (rows.scale > 0)
        found = found.masked_fill(same, 1.0)
    found = found.clamp(max=1.0)
    return found.masked_fill(rows.broken[:, None], torch.nan)


def _prepared(x: Tensor) -> QueuedRows:
    return queued_rows(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
