"""Which logical column each physical slot of a cache layer holds."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import Tensor

from todre.tensors.columns import PAD, SYSTEM, TEXT, VISUAL, Compaction, compact, take_columns


class AttachmentState:
    """Whether the model that tables were made for is being pruned, so that somebody answers for what they mean."""

    def __init__(self) -> None:
        self.open = True

    def __deepcopy__(self, memo: dict[int, Any]) -> AttachmentState:
        return self


class SlotTable:
    """Which logical column each physical slot holds, for a group of layers.

    Attributes:
        columns: (b, s) int64 logical column of each slot up to `covered`; -1 is padding. Later slots follow one by one.
        kinds: (b, s) int8 classes of layout.py.
        covered: number of logical columns that `columns` accounts for.
        padded: whether some slot may be padding, known on the host.
        identity: whether slots and logical columns are the same thing, so that the model's own masks are right.
        shift: (b,) how much smaller positions are than logical ones, or None when ids are kept.
        window: columns that the layers see, their own included, and no longer hold once they are farther; 0 is all.
        evicted: leading slots that the layers no longer hold.
        earlier: during a prefill, visual slots of each row from forwards before it, on the host.
        incoming: logical columns that the step under way adds to each layer; None between steps, and in steps that add
            as many slots as columns, in which nobody needs to say so.
        owner: whether such steps may be run.
        alone: whether all layers that hold slots have this table.
    """

    def __init__(
        self,
        columns: Tensor,
        kinds: Tensor,
        covered: int,
        padded: bool,
        identity: bool = False,
        shift: Tensor | None = None,
        window: int = 0,
    ) -> None:
        self.columns = columns
        self.kinds = kinds
        self.covered = covered
        self.padded = padded
        self.identity = identity
        self.shift = shift
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
        """The table after `length` columns of text, of which the layers hold the last `held`, before any picture."""
        first = 0 if held is None else length - held
        columns = torch.arange(first, length, device=device, dtype=torch.int64).expand(rows, length - first)
        kinds = torch.full((rows, length - first), SYSTEM, dtype=torch.int8, device=device)
        return cls(columns, kinds, covered=length, padded=padded, identity=True)

    @property
    def seen_picture(self) -> Tensor:
        """(b,) bool, rows that hold or held visual tokens."""
        return ((self.kinds == VISUAL) | (self.kinds == TEXT)).any(dim=1)

    @property
    def visual_count(self) -> Tensor:
        """(b,) int64, visual slots that are still held."""
        return (self.kinds[:, self.evicted :] == VISUAL).sum(dim=1)

    def at_length(self, length: int) -> tuple[Tensor, Tensor]:
        """Columns and kinds of all slots still held at `length` logical columns; answers count as text."""
        rows, device = self.columns.shape[0], self.columns.device
        tail = torch.arange(self.covered, length, device=device, dtype=torch.int64).expand(rows, -1)
        kinds = torch.where(self.seen_picture, TEXT, SYSTEM).to(torch.int8)[:, None].expand_as(tail)
        columns, kinds = torch.cat([self.columns, tail], dim=1), torch.cat([self.kinds, kinds], dim=1)
        return columns[:, self.evicted :], kinds[:, self.evicted :]

    def expired(self, length: int) -> int:
        """How many leading slots no query from column `length` on can see, in any row."""
        if not self.window or self.rewinds:
            return self.evicted
        bound = length - self.window
        if self._last is None:
            self._last = self.columns.amax(dim=0).tolist() if self.columns.shape[0] else []
        gone = bisect_right(self._last, bound)
        if gone == len(self._last):
            gone += max(0, bound + 1 - self.covered)
        return max(gone, self.evicted)

    def valid_slots(self, length: int, attention_mask: Tensor | None) -> Tensor | None:
        """(b, slots) bool at `length` logical columns; None where nothing is padding.

        `attention_mask` is the caller's logical (b, length) mask, or None.
        """
        if attention_mask is None and not self.padded:
            return None
        columns, kinds = self.at_length(length)
        valid = (columns >= 0) & (kinds != PAD)
        if attention_mask is not None:
            valid = valid & take_columns(attention_mask.to(torch.bool), columns.clamp(min=0), dim=1)
        return valid

    @property
    def open(self) -> bool:
        """Whether layers may take slots without being told for how many columns."""
        return self.owner is not None and self.owner.open

    def aligned(self, length: int, attention_mask: Tensor | None) -> Tensor:
        """What to hand a model as its mask: (b, length) bool, with the slots at its right, where layers say they are.

        A layer that holds s slots at `length` columns answers that its first one is column `length` - s. So slot i
        belongs in column `length` - s + i of the mask, and the columns before are not looked at.

        Args:
            length: logical columns, or more.
            attention_mask: the caller's logical (b, length) mask, or None.
        """
        valid = (self.columns >= 0) & (self.kinds != PAD)
        rows, slots = valid.shape
        if attention_mask is None:
            later = valid.new_ones(rows, length - self.covered)
        else:
            given = attention_mask.to(valid.device, torch.bool)
            valid = valid & take_columns(given, self.columns.clamp(min=0), dim=1)
            later = given[:, self.covered :]
        return torch.cat([valid.new_zeros(rows, self.covered - slots), valid, later], dim=1)

    def select_rows(self, rows: Tensor) -> None:
        """Reorder or repeat the batch."""
        rows = rows.to(self.columns.device)
        self.columns, self.kinds = self.columns[rows], self.kinds[rows]
        if self.shift is not None:
            self.shift = self.shift[rows]

    def crop(self, length: int, first: bool) -> Compaction | None:
        """Forget columns from `length` on; the slots that stay, or None when only appended slots go.

        `first` says whether this is the first of the layers that ask, so that the others get the same answer.
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
        self._crop = (length, kept)
        return kept

    def begin(self, incoming: int) -> None:
        """Announce a step that adds `incoming` logical columns."""
        self.incoming = incoming
        self._crop = None

    def end(self) -> None:
        """Close the step: what went out of sight is no longer held."""
        self.incoming = None
        if self.window and self.leader is not None:
            self.evicted = self.expired(self.leader.logical)
