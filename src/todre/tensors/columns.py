"""Packing of kept columns, row by row, and unpacking.

Each row of a batch keeps its own subset of columns. `compact` packs the survivors of a row to the right, so that all
rows end at the same place and only the left holds padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.tensors.transfer import fetch, upload

# Classes of slots: those of ToDRE's eq. 7 (S, V, T), and two that take no part in it.
PAD, SYSTEM, VISUAL, TEXT, DRAFT = range(5)


@dataclass(frozen=True)
class Compaction:
    """Source column of each column after packing, row by row.

    Attributes:
        index: (b, m) int64, the source column of each new column; 0 where `valid` is False.
        valid: (b, m) bool, False at the left padding of rows that keep fewer than m columns.
        width: number of columns before packing.
        padded: whether any row is padded; known on the host, so that later steps need not read the device.
    """

    index: Tensor
    valid: Tensor
    width: int
    padded: bool

    def take(self, x: Tensor, dim: int = 1) -> Tensor:
        """`x` packed along `dim`; a batch dimension of 1 is shared by all rows."""
        return take_columns(x, self.index, dim)

    def take_positions(self, positions: Tensor) -> Tensor:
        """Packed positions of shape (b or 1, q) or (axes, b or 1, q)."""
        if positions.ndim == 2:
            return take_columns(positions, self.index, 1)
        return torch.stack([take_columns(axis, self.index, 1) for axis in positions])

    def take_angles(self, angles: Tensor) -> Tensor:
        """Packed rotary angles of shape (..., b or 1, q, d)."""
        flat = angles.reshape(-1, *angles.shape[-3:])
        taken = torch.stack([take_columns(one, self.index, 1) for one in flat])
        return taken.view(*angles.shape[:-3], *taken.shape[1:])

    def then(self, later: Compaction) -> Compaction:
        """This compaction followed by `later`, as one."""
        index = self.index.gather(1, later.index)
        return Compaction(index, later.valid, self.width, later.padded)


def compact(keep: Tensor, counts: Sequence[int] | None = None) -> Compaction:
    """Pack the True columns of `keep` to the right, in order.

    Args:
        keep: (b, s) bool.
        counts: number of True columns in each row; without it the device is read.

    Returns:
        A compaction to m columns, where m is the largest count of any row, and at least 1.
    """
    counts = fetch([keep.sum(dim=1)])[0].tolist() if counts is None else counts
    width = max(1, max(counts))
    order = torch.argsort(keep.to(torch.uint8), dim=1, stable=True)[:, keep.shape[1] - width :]
    padded = min(counts) < width
    start = width - torch.tensor(counts, dtype=torch.int64, device="cpu")
    valid = torch.arange(width, dtype=torch.int64, device="cpu") >= start[:, None]
    valid = upload(valid, keep.device) if padded else torch.ones_like(order, dtype=torch.bool)
    return Compaction(order.masked_fill(~valid, 0) if padded else order, valid, keep.shape[1], padded)


def take_columns(x: Tensor, index: Tensor, dim: int) -> Tensor:
    """Gather columns of `x` along one dimension.

    Args:
        x: any tensor with the batch as dimension 0; a batch of 1 is shared by all rows. `x` may be on another device
            than `index`, because the layers of one model can be spread over several.
        index: (b, m) int64.
        dim: the dimension to gather along.
    """
    dim, index = dim % x.ndim, index.to(x.device)
    if x.shape[0] != index.shape[0]:
        x = x.expand(index.shape[0], *x.shape[1:])
    shape = [index.shape[0]] + [1] * (x.ndim - 1)
    shape[dim] = index.shape[1]
    target = list(x.shape)
    target[dim] = index.shape[1]
    return x.gather(dim, index.view(shape).expand(target))


def put_back(x: Tensor, columns: Tensor, length: int, lending: Tensor | None = None) -> Tensor:
    """Spread packed results over the logical columns that they belong to.

    Args:
        x: (b, m, d).
        columns: (b, m) logical columns, ascending; negative ones are padding.
        length: number of logical columns.
        lending: (b, length) bool, columns without a survivor that take the value of the last survivor before them, if
            there is one. All other columns without a survivor are zero.

    Returns:
        (b, length, d).
    """
    place = torch.arange(x.shape[1], device=columns.device, dtype=torch.int64).expand_as(columns)
    source = torch.full((x.shape[0], length + 1), -1, dtype=torch.long, device=columns.device)
    source = source.scatter_(1, columns.masked_fill(columns < 0, length), place)[:, :length]
    if lending is not None:
        source = torch.where(lending.to(source.device), source.cummax(dim=1).values, source)
    out = take_columns(x, source.clamp(min=0), 1)
    return out.masked_fill((source < 0).to(x.device)[:, :, None], 0)


def token_kinds(visual: Tensor, valid: Tensor, had_picture: Tensor, drafts: int) -> Tensor:
    """Class of each column (S, V and T of ToDRE eq. 7; padding; drafts).

    Args:
        visual: (b, q) bool, the visual tokens, newline tokens included.
        valid: (b, q) bool, False at padding.
        had_picture: (b,) bool, rows whose cache already holds a picture; all their text comes after it.
        drafts: number of trailing columns that assisted decoding proposed.

    Returns:
        (b, q) int8.
    """
    after = (visual.cumsum(dim=1) > 0) | had_picture[:, None]
    kinds = torch.where(after, TEXT, SYSTEM).to(torch.int8)
    if drafts:
        kinds[:, -drafts:] = DRAFT
    kinds = kinds.masked_fill(visual, VISUAL)
    return kinds.masked_fill(~valid, PAD)
