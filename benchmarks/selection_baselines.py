"""Baselines of selection: two kinds of tokens, two plain forms of the greedy loop.

Both loops are written from the formulas alone, work on any device and keep their indices there.
"""

from __future__ import annotations

import torch
from torch import Tensor


def tokens(kind: str, n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unit rows (n, d) of one kind of token.

    `common` has a rank-64 structure of scale 4, unit noise and a common mean of scale 3.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    x = drawn(n, d)
    if kind == "common":
        rank = min(64, d)
        structure = drawn(n, rank) @ drawn(rank, d)
        x.add_(structure.mul_(4 / rank**0.5)).add_(3 * drawn(1, d))
    elif kind != "isotropic":
        raise ValueError(f"kind must be common or isotropic, not {kind!r}")
    return x.div_(torch.linalg.vector_norm(x, dim=1, keepdim=True)).to(dtype)


def plain_loop(x: Tensor, k: int, pivot: int, rule: str) -> Tensor:
    """Incremental loop: a product with the last pick, folded into a running value."""
    unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    value = unit.new_full((len(x),), -torch.inf if rule == "k_center" else 0.0)
    order = torch.full((k,), pivot, dtype=torch.int64, device=x.device)
    for step in range(1, k):
        pick = order[step - 1]
        cosine = torch.mv(unit, unit[pick])
        value = torch.maximum(value, cosine) if rule == "k_center" else value + cosine
        value[pick] = torch.inf
        order[step] = value.argmin()
    return order


def published_procedure(x: Tensor, k: int, pivot: int, rule: str) -> Tensor:
    """Published procedure: an (n, n) matrix, of which steps read all chosen rows."""
    unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    distance = 1.0 - unit @ unit.T
    order = torch.full((k,), pivot, dtype=torch.int64, device=x.device)
    for step in range(1, k):
        rows = distance[order[:step]]
        gain = rows.amin(dim=0) if rule == "k_center" else rows.sum(dim=0)
        gain[order[:step]] = -torch.inf
        order[step] = gain.argmax()
    return order
