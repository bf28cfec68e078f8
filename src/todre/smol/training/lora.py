"""Low-rank updates of frozen matrices, kept merged while they train.

Source: Hu et al., "LoRA: low-rank adaptation of large language models" (2021), section 4.1. A merged matrix is what
ships, so the forward in training rounds as the shipped one does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj")
"""The matrices of each attention layer that get an update."""


class LowRank(nn.Module):
    """A frozen matrix W plus a trained update: W + scale · B A.

    Args:
        weight: (out, in) frozen weights, in the dtype of the forward.
        rank: rows of A and columns of B.
        scale: factor on the update.

    Attributes:
        A: (rank, in) float32, random at the start.
        B: (out, rank) float32, zero at the start.
    """

    frozen: torch.Tensor
    scale: float

    def __init__(self, weight: torch.Tensor, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.register_buffer("frozen", weight.detach(), persistent=False)
        start = torch.randn(rank, columns, dtype=torch.float32, device=weight.device) / math.sqrt(columns)
        self.A = nn.Parameter(start)
        self.B = nn.Parameter(torch.zeros(rows, rank, dtype=torch.float32, device=weight.device))
        self.scale = scale
        self.in_features, self.out_features = columns, rows

    @property
    def weight(self) -> torch.Tensor:
        """(out, in) the merged matrix, in the dtype of the frozen one."""
        merged: torch.Tensor = self.frozen.float() + self.scale * (self.B @ self.A)
        return merged.to(self.frozen.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, out) product with the merged matrix."""
        return F.linear(x, self.weight)


def add_low_rank(decoder: Any, rank: int, scale: float) -> dict[str, LowRank]:
    """Put a `LowRank` in the place of each of `MATRICES`, in place.

    Returns:
        "{layer}.{matrix}" → the update.
    """
    added = {}
    for number, layer in enumerate(decoder.layers):
        for name in MATRICES:
            update = LowRank(getattr(layer.self_attn, name).weight, rank, scale)
            setattr(layer.self_attn, name, update)
            added[f"{number}.{name}"] = update
    return added
