"""Counts of the columns in flight, by kind and row, on the host.

Which visual tokens a method keeps is known on the device alone. Their number is known on the host; it tells
where text begins and ends among the remaining columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.tensors.columns import DRAFT, PAD, TEXT, VISUAL


@dataclass(frozen=True)
class RowCounts:
    """Counts of the columns in flight in each row, without padding.

    Columns in flight are those that the next layer runs on. A packed row ends at the right.

    Attributes:
        head: columns before the first visual token.
        visual: visual tokens.
        between: other columns between the first and the last visual token.
        tail: columns after the last visual token, drafts included.
        drafts: columns proposed by assisted decoding.
        had_picture: whether the row's cache holds or held a picture, so that the columns in `head` count as text.
        kinds: (b, q) int8 class of each column, on the host; None as soon as a column was dropped.
    """

    head: tuple[int, ...]
    visual: tuple[int, ...]
    between: tuple[int, ...]
    tail: tuple[int, ...]
    drafts: tuple[int, ...]
    had_picture: tuple[bool, ...]
    kinds: Tensor | None

    @classmethod
    def of(cls, kinds: Tensor, had_picture: Sequence[bool]) -> RowCounts:
        """Counts of a forward's columns before any was dropped.

        Args:
            kinds: (b, q) int8 class of each column, on the host.
            had_picture: for each row, whether its cache holds or held a picture.
        """
        rows = []
        for row, known in zip(kinds, had_picture, strict=True):
            there = row[row != PAD]
            visual = (there == VISUAL).nonzero().flatten()
            first, last = (int(visual[0]), int(visual[-1]) + 1) if len(visual) else (len(there),) * 2
            if known and not len(visual):
                first = last = 0
            parts = (first, len(visual), last - first - len(visual), len(there) - last, int((row == DRAFT).sum()))
            rows.append(parts)
        head, count, between, tail, drafts = zip(*rows, strict=True)
        return cls(head, count, between, tail, drafts, tuple(bool(one) for one in had_picture), kinds)

    @property
    def total(self) -> list[int]:
        """Number of columns in each row."""
        parts = zip(self.head, self.visual, self.between, self.tail, strict=True)
        return [sum(row) for row in parts]

    @property
    def text(self) -> list[int]:
        """Number of text tokens after a picture in each row."""
        rows = zip(self.head, self.between, self.tail, self.drafts, self.had_picture, strict=True)
        return [between + tail - drafts + (head if known else 0) for head, between, tail, drafts, known in rows]

    def with_visual(self, visual: Sequence[int]) -> RowCounts:
        """The counts after each row was packed with `visual[row]` visual tokens left."""
        return dataclasses.replace(self, visual=tuple(visual), kinds=None)

    def places(self, kind: int, width: int) -> Tensor:
        """Columns that may be of one kind in some row.

        Text between pictures may be anywhere between the first and the last visual token; all other places are exact.

        Args:
            kind: `VISUAL` or `TEXT`.
            width: number of columns of the packed batch.

        Returns:
            (m,) int64 on the host.
        """
        if self.kinds is not None:
            return (self.kinds == kind).any(dim=0).nonzero().flatten()
        found = torch.zeros(width, dtype=torch.bool, device="cpu")
        for row in range(len(self.head)):
            end = width - self.tail[row]
            start = end - self.visual[row] - self.between[row]
            if kind == VISUAL or self.between[row]:
                found[start:end] = True
            if kind == TEXT:
                found[end : width - self.drafts[row]] = True
                if self.had_picture[row]:
                    found[start - self.head[row] : start] = True
        return found.nonzero().flatten()

    def query_places(self, width: int) -> Tensor:
        """Columns that may be text, or the last column that is no draft, in some row.

        Args:
            width: number of columns of the packed batch.

        Returns:
            (m,) int64 on the host.
        """
        found = torch.zeros(width, dtype=torch.bool, device="cpu")
        found[self.places(TEXT, width)] = True
        for row, drafts in enumerate(self.drafts):
            if self.kinds is None:
                found[max(0, width - 1 - drafts)] = True
            else:
                real = ((self.kinds[row] != PAD) & (self.kinds[row] != DRAFT)).nonzero().flatten()
                found[int(real[-1]) if len(real) else 0] = True
        return found.nonzero().flatten()

    @property
    def text_first(self) -> bool:
        """True if in some row a visual token may come after text that follows a picture."""
        return any(self.had_picture) or any(self.between)
