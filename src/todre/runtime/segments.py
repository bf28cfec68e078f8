"""Samples packed in one row, one behind the other, as for training without padding: told apart, and put back together.

Packed samples must not see each other. transformers reads where they begin out of their positions, which start anew,
if there is neither a mask nor a cache (`create_causal_mask`; flash attention also with a cache), or is told by
bounds of its own. Positions say nothing any more once tokens have left, so each sample gets a row of its own, padded at
the left: every method then sees samples as in a batch, and every attention backend takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.calls import DecoderCall
from todre.hf.decoder import FULL, SLIDING
from todre.hf.layer_calls import packed_bounds, per_column, without_packing
from todre.runtime.masks import check_blocks, visible
from todre.tensors.transfer import fetch, upload


@dataclass(frozen=True)
class Segments:
    """Where each packed sample stands.

    Attributes:
        index: (n, m) int64 on the host: for each column of each sample its place among the b * q columns that came in,
            row by row; 0 at padding.
        valid: (n, m) bool on the host, False at padding.
        rows: b.
        length: q.
    """

    index: Tensor
    valid: Tensor
    rows: int
    length: int

    @classmethod
    def of(cls, starts: Sequence[Sequence[int]], length: int) -> Segments:
        """Samples that begin at `starts`, ascending and from 0 on, in each row of `length` columns."""
        spans = [
            (row * length + start, row * length + end)
            for row, mine in enumerate(starts)
            for start, end in zip(mine, [*mine[1:], length], strict=True)
        ]
        longest = max(end - start for start, end in spans)
        index = torch.zeros(len(spans), longest, dtype=torch.long, device="cpu")
        valid = torch.zeros(len(spans), longest, dtype=torch.bool, device="cpu")
        for sample, (start, end) in enumerate(spans):
            index[sample, longest - (end - start) :] = torch.arange(start, end, device="cpu", dtype=torch.int64)
            valid[sample, longest - (end - start) :] = True
        return cls(index, valid, len(starts), length)

    def take(self, x: Tensor) -> Tensor:
        """(n, m, …) of `x` (b or 1, q, …)."""
        flat = x.expand(self.rows, *x.shape[1:]).flatten(0, 1)
        taken = flat[upload(self.index, x.device)]
        if x.dtype == torch.bool:
            shape = self.valid.shape + (1,) * (taken.ndim - 2)
            taken = taken & upload(self.valid, x.device).view(shape)
        return taken

    def take_positions(self, positions: Tensor) -> Tensor:
        """(n, m) or (axes, n, m) of positions (b or 1, q) or (axes, b or 1, q)."""
        if positions.ndim == 2:
            return self.take(positions)
        return torch.stack([self.take(axis) for axis in positions])

    def take_mask(self, mask: Tensor) -> Tensor:
        """(n, 1, m, m) of a mask (b or 1, 1, q, q), in the same form."""
        place = upload(self.index % self.length, mask.device)
        row = upload(self.index[:, -1] // self.length, mask.device)
        taken = mask.expand(self.rows, *mask.shape[1:])[row[:, None, None], 0, place[:, :, None], place[:, None, :]]
        hidden = ~upload(self.valid, mask.device)[:, None, :]
        lowest = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        return taken.masked_fill(hidden, lowest)[:, None]

    def back(self, x: Tensor) -> Tensor:
        """(b, q, d) of `x` (n, m, d)."""
        flat = x.flatten(0, 1)
        source = torch.empty(self.rows * self.length, dtype=torch.long, device="cpu")
        source[self.index[self.valid]] = self.valid.flatten().nonzero().flatten()
        back: Tensor = flat[upload(source, x.device)].unflatten(0, (self.rows, self.length))
        return back

    def split(self, call: DecoderCall, window: int) -> None:
        """Rewrite the decoder's `call` in place: a row for each sample, and a mask of padding.

        Args:
            call: what the decoder is called with.
            window: columns that its layers with a window see; 0 if there are none.

        Raises:
            UnsupportedInputError: masks that cannot be taken apart, or that mix samples.
        """
        check_blocks(call.mask, self.length)
        rest = {
            name: self.take(value) if per_column(value, self.rows, self.length) else value
            for name, value in without_packing(call.rest).items()
        }
        padding = None if bool(self.valid.all()) else self.valid
        mask = call.mask
        if isinstance(mask, Mapping):
            call.mask = {kind: self._split_mask(one, padding) for kind, one in mask.items()}
            _check_windows(call.mask, window)
        else:
            call.mask = self._split_mask(mask, padding)
        if padding is not None and call.mask is padding and call.embeds is not None:
            call.mask = upload(padding, call.embeds.device).long()
        call.embeds, call.rest = None if call.embeds is None else self.take(call.embeds), rest
        if call.positions is not None:
            call.positions = self.take_positions(call.positions)

    def _split_mask(self, mask: Any, padding: Tensor | None) -> Any:
        """A mask that the model laid out, sample by sample; else the padding."""
        return self.take_mask(mask) if isinstance(mask, Tensor) and mask.ndim == 4 else padding


def _check_windows(masks: Mapping[str, Any], window: int) -> None:
    """Refuse masks of layers with a window that say otherwise than those without, within the window.

    Those that transformers lays out up to 5.24 at least for Gemma 3 and 4 look for pictures in the wrong sample.
    """
    whole, near = masks.get(FULL), masks.get(SLIDING)
    if not window or not isinstance(whole, Tensor) or not isinstance(near, Tensor):
        return
    place = torch.arange(whole.shape[-1], device=whole.device, dtype=torch.int64)
    within = (place[:, None] - place[None, :]).abs() < window
    if bool(((visible(whole) != visible(near)) & within).any()):
        raise UnsupportedInputError(
            "Samples packed in one row get masks from this model that take pictures for those of other samples, in "
            "layers with a window; pass a batch with a mask of padding."
        )


def segments_of(
    call: DecoderCall, positions: Tensor | None, cached: bool, text_first: bool, flash: bool
) -> Segments | None:
    """The samples that are packed in the rows of a decoder's `call`; None if each row is one.

    Args:
        call: without a mask that hides anything, and with no cache or one that nothing was put in yet.
        positions: those that the caller gave, on the host; what a model makes up itself never starts anew.
        cached: whether there is a cache, or will be.
        text_first: whether the first of four axes of positions counts tokens, as in Qwen-VL's M-RoPE.
        flash: whether the attention backend is one that reads packed samples out of positions also with a cache.
    """
    length, bounds = call.columns, packed_bounds(call.rest)
    if bounds is not None:
        cuts = fetch([bounds])[0].tolist()
        starts = [
            sorted({cut - row * length for cut in cuts if row * length <= cut < (row + 1) * length} | {0})
            for row in range(call.rows)
        ]
    elif positions is not None and (flash or not cached):
        starts = _restarts(positions, text_first)
        starts = starts * call.rows if len(starts) == 1 else starts
    else:
        return None
    return None if all(mine == [0] for mine in starts) else Segments.of(starts, length)


def _restarts(positions: Tensor, text_first: bool) -> list[list[int]]:
    """Of each row, where samples begin: positions that do not go on by one start anew.

    Of positions in several axes without one that counts tokens, the first is time: it stands still within a picture,
    and goes back only where a sample begins.
    """
    counts = positions if positions.ndim == 2 else positions[0]
    step = counts.diff(dim=1)
    plain = positions.ndim == 2 or (text_first and positions.shape[0] == 4)
    new = step != 1 if plain else step < 0
    return [[0, *(row.nonzero().flatten() + 1).tolist()] for row in new]
