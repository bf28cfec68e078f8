"""A picture's budget as an input of the model.

It is packed into integers, so that it stays exact where a model's floating-point inputs are cast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def packed_retain(retain: float) -> Tensor:
    """A budget as (1, 2) int64.

    The first number says whether it is a share, the second is the count or the bits of the share.
    """
    share = isinstance(retain, float)
    bits = torch.tensor([float(retain)], dtype=torch.float64, device="cpu").view(torch.int64)
    value = int(bits[0]) if share else int(retain)
    return torch.tensor([[int(share), value]], dtype=torch.int64, device="cpu")


def unpacked_retains(field: Tensor | list[Tensor]) -> list[float]:
    """The budgets of several pictures, from what `packed_retain` made of each.

    Ints are counts, floats are shares.
    """
    rows = torch.cat([each.reshape(-1, 2) for each in field]) if isinstance(field, list) else field.reshape(-1, 2)
    values = rows.cpu()
    shares = values[:, 1].contiguous().view(torch.float64).tolist()
    return [
        share if is_share else count
        for is_share, count, share in zip(values[:, 0].tolist(), values[:, 1].tolist(), shares, strict=True)
    ]
