"""How many columns in flight are what, row by row: numbers on the host, from the prompt and from what methods left.

Which visual tokens a method keeps is known on the device alone. How many they are, and so where text begins and ends
among the columns that are left, follows from counts.
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
    """The columns in flight, padding left aside; in a packed row they end at its right.

    Attributes:
        head: of each row, columns before its first visual token.
        visual: visual tokens.
        between: other columns between its first and its last visual token.
        tail: columns after its last visual token, drafts included.
        drafts: proposed by assisted decoding.
        had_picture: whether text stands before the first visual token, as in a row whose cache holds a picture.
        kinds: (b, q) int8 on the host, the class of each column, as long as none has left.
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
        """Counts of a forward's columns.

        Args:
            kinds: (b, q) int8 class of each column, on the host.
            had_picture: of each row, whether its cache holds or held a picture.
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
        """Columns of each row."""
        parts = zip(self.head, self.visual, self.between, self.tail, strict=True)
        return [sum(row) for row in parts]

    @property
    def text(self) -> list[int]:
        """Text after a picture, in each row."""
        rows = zip(self.head, self.between, self.tail, self.drafts, self.had_picture, strict=True)
        return [between + tail - drafts + (head if known else 0) for head, between, tail, drafts, known in rows]

    def with_visual(self, visual: Sequence[int]) -> RowCounts:
        """What is in flight once each row is packed with so many visual tokens."""
        return dataclasses.replace(self, visual=tuple(visual), kinds=None)

    def places(self, kind: int, width: int) -> Tensor:
        """(m,) int64 on the host: columns that may be `kind` (VISUAL or TEXT) in some row of `width` columns.

        Text that stands between pictures may be anywhere among them; all else is exact.
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
        """(m,) int64 on the host: columns that may be text in some row, or the last that is no draft."""
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
        """Whether in some row a visual token may come after text that is asked about pictures."""
        return any(self.had_picture) or any(self.between)
