"""Attention between two kinds of tokens, without an attention map (ToDRE eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.tensors.attention import AttentionInputs, attention_mass, visible_keys
from todre.tensors.columns import PAD


def mean_mass(
    inputs: AttentionInputs,
    kinds: Tensor,
    query_kind: int,
    key_kind: int,
    admissible: bool = True,
    places: Tensor | None = None,
    among: Tensor | None = None,
) -> Tensor:
    """Mean attention mass of queries of one kind on keys of another.

    Each softmax row sums to one over S, V and T, so eq. 7's ratio of sums is the mean mass.

    Args:
        inputs: queries and keys of the layer; the last q keys are the queries' own.
        kinds: (b, s) int8 class of each key (see `tensors.columns`).
        query_kind: class of the queries.
        key_kind: class of the keys.
        admissible: True counts only the queries that can see a key of `key_kind`; the mass of all other queries is
            zero. False counts all queries, as in eq. 7.
        places: (m,) int64, columns that include all queries of `query_kind`; without it the device is read.
        among: (b, q) bool, counts these queries alone; None counts all queries of `query_kind`.

    Returns:
        (b,) float32; NaN where no query qualifies.
    """
    queries = inputs.query.shape[2]
    target = kinds == key_kind
    rows = kinds[:, -queries:] == query_kind
    rows = rows if among is None else rows & among
    seeing = rows & _sees(inputs, target, queries)
    (mass,) = attention_mass(inputs, seeing, [target], kinds != PAD, places)
    count = (seeing if admissible else rows).sum(dim=1)
    return torch.where(count > 0, mass.sum(dim=1) / count, torch.nan)


def _sees(inputs: AttentionInputs, target: Tensor, queries: int) -> Tensor:
    """Queries that can see some key in `target`, (b, q) bool."""
    if inputs.mask is None or inputs.mask.ndim != 4:
        return target.cumsum(dim=1)[:, -queries:] > 0
    block = torch.arange(queries, device=target.device, dtype=torch.int64)
    return (visible_keys(inputs, block) & target[:, None, :]).any(dim=-1)
