"""The logical column that each physical slot of a cache layer holds.

A logical column is a token's place in the sequence as the caller sees it; a slot is its place in the pruned cache.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import Tensor

from todre.tensors.columns import PAD, SYSTEM, TEXT, VISUAL, Compaction, compact, take_columns


class AttachmentState:
    """State of one attachment, shared by all tables that it made.

    A copy of a cache shares the state of the original.

    Attributes:
        open: True while the attachment is active.
    """

    def __init__(self) -> None:
        self.open = True

    def __deepcopy__(self, memo: dict[int, Any]) -> AttachmentState:
        return self


class SlotTable:
    """Logical column of each physical slot, for a group of cache layers.

    Attributes:
        columns: (b, s) int64 logical column of each slot up to `covered`; -1 is padding. Later slots follow one by one.
        kinds: (b, s) int8 class of each slot (columns.py).
        covered: number of logical columns that `columns` accounts for.
        padded: whether some slot may be padding, known on the host.
        identity: whether slots and logical columns are the same, so that the model's own masks are right.
        shift: (b,) logical position minus actual position of later tokens; None where position ids are kept.
        shifts: (b, covered) int64, what `shift` is after each logical column; None where it is.
        window: number of columns that a query in these layers sees, its own included; 0 for no window. Slots outside it
            are dropped.
        evicted: leading slots that the layers have dropped.
        rewinds: whether assisted decoding may take columns back; if so, no slot expires.
        earlier: during a prefill, visual slots from earlier forwards in each row, on the host.
        incoming: logical columns that the current step adds to each layer; None between steps, and in steps that add as
            many slots as columns.
        owner: state of the attachment that prunes with this table; None if there is none.
        alone: whether all layers that hold slots share this table.
        leader: the first cache layer of the group, which reorders and crops the table for the other layers.
    """

    def __init__(
        self,
        columns: Tensor,
        kinds: Tensor,
        covered: int,
        padded: bool,
        identity: bool = False,
        shifts: Tensor | None = None,
        window: int = 0,
    ) -> None:
        self.columns = columns
        self.kinds = kinds
        self.covered = covered
        self.padded = padded
        self.identity = identity
        self.shifts = shifts
        self.shift = _last_of(shifts)
        self.window = window
        self.evicted = 0
        self.rewinds = False
        self.earlier: list[int] = []
        self.incoming: int | None = None
        self.owner: AttachmentState | None = None
        self.alone = True
        self.leader: Any = None
        self._last: list[int] | None = None
        self._crop: tuple[int, Compaction] | None = None

    @classmethod
    def before_pictures(
        cls, rows: int, length: int, padded: bool, device: torch.device, held: int | None = None
    ) -> SlotTable:
        """Table of `length` columns of text before any picture.

        Args:
            rows: batch size.
            length: logical columns in the cache.
            padded: whether some column may be padding.
            device: device of the table.
            held: number of last columns that the layers still hold; None for all.
        """
        first = 0 if held is None else length - held
        columns = torch.arange(first, length, device=device, dtype=torch.int64).expand(rows, length - first)
        kinds = torch.full((rows, length - first), SYSTEM, dtype=torch.int8, device=device)
        return cls(columns, kinds, covered=length, padded=padded, identity=True)

    @property
    def had_picture(self) -> Tensor:
        """Rows that hold or held visual tokens, (b,) bool."""
        return ((self.kinds == VISUAL) | (self.kinds == TEXT)).any(dim=1)

    @property
    def visual_count(self) -> Tensor:
        """Visual slots that are still held, (b,) int64."""
        return (self.kinds[:, self.evicted :] == VISUAL).sum(dim=1)

    def at_length(self, length: int) -> tuple[Tensor, Tensor]:
        """Columns and kinds of all held slots at `length` logical columns.

        Columns after `covered` are text if their row had a picture, and system tokens otherwise.
        """
        rows, device = self.columns.shape[0], self.columns.device
        tail = torch.arange(self.covered, length, device=device, dtype=torch.int64).expand(rows, -1)
        kinds = torch.where(self.had_picture, TEXT, SYSTEM).to(torch.int8)[:, None].expand_as(tail)
        columns, kinds = torch.cat([self.columns, tail], dim=1), torch.cat([self.kinds, kinds], dim=1)
        return columns[:, self.evicted :], kinds[:, self.evicted :]

    def expired(self, length: int) -> int:
        """Number of leading slots hidden from all queries at column `length` (0-based) on."""
        if not self.window or self.rewinds:
            return self.evicted
        bound = length - self.window
        if self._last is None:
            self._last = self.columns.amax(dim=0).tolist() if self.columns.shape[0] else []
        gone = bisect_right(self._last, bound)
        if gone == len(self._last):
            gone += max(0, bound + 1 - self.covered)
        return max(gone, self.evicted)

    def valid_slots(self, length: int, mask: Tensor | None) -> Tensor | None:
        """Slots that are not padding at `length` logical columns; None if none is padding.

        Args:
            length: logical columns.
            mask: the caller's logical (b, length) mask, or None.

        Returns:
            (b, slots) bool.
        """
        if mask is None and not self.padded:
            return None
        columns, kinds = self.at_length(length)
        valid = (columns >= 0) & (kinds != PAD)
        if mask is not None:
            valid = valid & take_columns(mask.to(torch.bool), columns.clamp(min=0), dim=1)
        return valid

    @property
    def open(self) -> bool:
        """True while layers may take slots without an announced step."""
        return self.owner is not None and self.owner.open

    def aligned(self, length: int, mask: Tensor | None) -> Tensor:
        """The 2-D mask to pass to the model, with the slots in its rightmost columns.

        A layer that holds s slots at `length` columns reports column `length` - s as its first. So slot i belongs in
        column `length` - s + i of the mask, and the columns before are ignored.

        Args:
            length: number of logical columns, or more.
            mask: the caller's logical (b, length) mask, or None.

        Returns:
            (b, length) bool.
        """
        valid = (self.columns >= 0) & (self.kinds != PAD)
        rows, slots = valid.shape
        if mask is None:
            later = valid.new_ones(rows, length - self.covered)
        else:
            logical = mask.to(valid.device, torch.bool)
            valid = valid & take_columns(logical, self.columns.clamp(min=0), dim=1)
            later = logical[:, self.covered :]
        return torch.cat([valid.new_zeros(rows, self.covered - slots), valid, later], dim=1)

    def select_rows(self, rows: Tensor) -> None:
        """Reorder or repeat the rows of the batch."""
        rows = rows.to(self.columns.device)
        self.columns, self.kinds = self.columns[rows], self.kinds[rows]
        if self.shifts is not None:
            self.shifts = self.shifts[rows]
            self.shift = _last_of(self.shifts)

    def crop(self, length: int, first: bool) -> Compaction | None:
        """Forget the logical columns from `length` (0-based) on.

        Args:
            length: logical columns that stay.
            first: whether the caller is the first of the layers that share the table; the other layers get its answer.

        Returns:
            The slots that stay, or None if only slots after `covered` go.
        """
        if not first and self._crop is not None and self._crop[0] == length:
            return self._crop[1]
        self._crop = None
        if length >= self.covered:
            return None
        if self.evicted:
            self.columns, self.kinds = self.columns[:, self.evicted :], self.kinds[:, self.evicted :]
            self.evicted = 0
        kept = compact((self.columns < length) & (self.columns >= 0))
        self._last = None
        self.columns = kept.take(self.columns).masked_fill(~kept.valid, -1)
        self.kinds = kept.take(self.kinds).masked_fill(~kept.valid, PAD)
        self.covered, self.padded, self.identity = length, self.padded or kept.padded, False
        if self.shifts is not None:
            self.shifts = self.shifts[:, :length]
            self.shift = _last_of(self.shifts)
        self._crop = (length, kept)
        return kept

    def begin(self, incoming: int) -> None:
        """Announce a step that adds `incoming` logical columns."""
        self.incoming = incoming
        self._crop = None

    def end(self) -> None:
        """Close the step, and drop the slots that left the window."""
        self.incoming = None
        if self.window and self.leader is not None:
            self.evicted = self.expired(self.leader.logical)


def _last_of(shifts: Tensor | None) -> Tensor | None:
    """The last column of `shifts` (b, columns), 0 where there is none."""
    if shifts is None:
        return None
    return shifts[:, -1] if shifts.shape[1] else shifts.new_zeros(shifts.shape[0])
