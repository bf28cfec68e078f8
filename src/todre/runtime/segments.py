"""Samples packed in one row for training: split into rows, then packed again.

Packed samples must not see each other. transformers finds where samples begin from bounds that the caller passes or,
if there is neither a mask nor a cache, from positions that restart (`create_causal_mask`; flash attention also with a
cache). Once tokens have left, positions say nothing any more. So each sample gets a row of its own, padded at the left:
every method then sees samples as in a batch, and every attention backend takes them.
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
from todre.runtime.incoming_masks import check_blocks, visible
from todre.tensors.transfer import fetch, upload


@dataclass(frozen=True)
class Segments:
    """Where each of n packed samples stands in the input's rows.

    Attributes:
        index: (n, m) int64 on the host: for each column of each sample, its place among the b * q input columns, row by
            row; 0 at padding.
        valid: (n, m) bool on the host, False at padding.
        rows: b, rows of the input.
        length: q, columns of each input row.
    """

    index: Tensor
    valid: Tensor
    rows: int
    length: int

    @classmethod
    def of(cls, starts: Sequence[Sequence[int]], length: int) -> Segments:
        """The segments of rows in which samples begin at `starts`.

        Args:
            starts: for each row, the columns where samples begin, ascending, the first 0.
            length: columns of each row.
        """
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
        """Values (b or 1, q, …) in a row for each sample, (n, m, …)."""
        flat = x.expand(self.rows, *x.shape[1:]).flatten(0, 1)
        taken = flat[upload(self.index, x.device)]
        if x.dtype == torch.bool:
            shape = self.valid.shape + (1,) * (taken.ndim - 2)
            taken = taken & upload(self.valid, x.device).view(shape)
        return taken

    def take_positions(self, positions: Tensor) -> Tensor:
        """Positions, (b or 1, q) or (axes, b or 1, q), in a row for each sample."""
        if positions.ndim == 2:
            return self.take(positions)
        return torch.stack([self.take(axis) for axis in positions])

    def take_mask(self, mask: Tensor) -> Tensor:
        """A mask (b or 1, 1, q, q) for each sample, (n, 1, m, m), in the same form."""
        place = upload(self.index % self.length, mask.device)
        row = upload(self.index[:, -1] // self.length, mask.device)
        taken = mask.expand(self.rows, *mask.shape[1:])[row[:, None, None], 0, place[:, :, None], place[:, None, :]]
        hidden = ~upload(self.valid, mask.device)[:, None, :]
        lowest = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        return taken.masked_fill(hidden, lowest)[:, None]

    def back(self, x: Tensor) -> Tensor:
        """Hidden states (n, m, d) of the samples, packed in rows again, (b, q, d)."""
        flat = x.flatten(0, 1)
        source = torch.empty(self.rows * self.length, dtype=torch.long, device="cpu")
        source[self.index[self.valid]] = self.valid.flatten().nonzero().flatten()
        back: Tensor = flat[upload(source, x.device)].unflatten(0, (self.rows, self.length))
        return back

    def split(self, call: DecoderCall, window: int) -> None:
        """Rewrite the decoder's `call` in place: a row for each sample, a mask of padding.

        Args:
            call: the decoder's call.
            window: columns that its layers with a window see; 0 if there are none.

        Raises:
            UnsupportedInputError: the masks cannot be taken apart, or mix samples.
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
        """The model's own mask, sample by sample; the padding mask if there is none."""
        return self.take_mask(mask) if isinstance(mask, Tensor) and mask.ndim == 4 else padding


def _check_windows(masks: Mapping[str, Any], window: int) -> None:
    """Check that masks of windowed layers agree with the others inside the window.

    Raises:
        UnsupportedInputError: the masks do not agree.
    """
    # Up to 5.24 at least, the windowed masks of Gemma 3 and 4 look for pictures in the wrong packed sample.
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
    """Samples packed in the rows of a decoder's `call`; None if each row is one.

    Args:
        call: without a mask that hides anything, and with no cache or an empty one.
        positions: the caller's positions, on the host; positions that a model makes itself never restart.
        cached: True if there is a cache, or will be.
        text_first: True if the first of four axes of positions counts tokens, as in Qwen-VL's M-RoPE.
        flash: True if the attention backend finds packed samples from positions also with a cache.
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
    """Columns of each row where samples begin: positions that do not go on by one.

    If positions have several axes and none counts tokens, the first axis is time. Time stands still within a picture,
    and goes back only where a sample begins.
    """
    counts = positions if positions.ndim == 2 else positions[0]
    # As transformers' `find_packed_sequence_indices` does (5.24).
    step = counts.diff(dim=1)
    plain = positions.ndim == 2 or (text_first and positions.shape[0] == 4)
    new = step != 1 if plain else step < 0
    return [[0, *(row.nonzero().flatten() + 1).tolist()] for row in new]
