"""A prompt on the host: read once, before the device has been given any work."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.runtime.incoming_masks import logical_mask
from todre.runtime.segments import Segments
from todre.tensors.token_facts import KINDS
from todre.tensors.transfer import fetch


class Prompt:
    """The enclosing model's call, read once; all that is kept of it is on the host.

    Args:
        tokens: by kind of medium, the id of the token that marks its columns.
        embed: the model's input embeddings, for prompts that come as embeddings alone.
        call: the enclosing model's call.
        stays: (tokens of all clips,) bool, which encoded tokens stand in the prompt, where a model says so.

    Attributes:
        media_columns: by kind of medium, (b, q) bool, columns with its token; they may come without media.
        mask: the caller's mask, of any kind.
        cache: the caller's cache, or None.
        padding: (b, past + q) bool, False at padding; None without padding.
        past: logical columns of the cache.
        positions: the caller's positions, or None.
        stays: the argument `stays`, on the host.
        cached_visual: by id of slot table, number of visual slots in each row.
        had_picture: (b,) bool, rows whose cache holds or held visual tokens; None without a pruned cache.
    """

    def __init__(
        self,
        tokens: Mapping[str, int],
        embed: Any,
        call: DecoderCall,
        stays: Tensor | None,
    ) -> None:
        self.mask, self.cache = call.mask, call.cache if hasattr(call.cache, "layers") else None
        columns = _media_columns(tokens, embed, call.ids, call.embeds)
        tables, self.past = kv.distinct_tables(self.cache), 0
        if self.cache is not None:
            self.past = int(self.cache.get_seq_length())
        length = next(iter(columns.values())).shape[1] if columns else 0
        padding = logical_mask(self.mask, self.mask, self.cache, self.past, length) if columns else None
        positions = call.positions if isinstance(call.positions, Tensor) and call.positions.ndim > 1 else None
        whole = [x for x in (padding, stays, positions) if x is not None]
        counts = [table.visual_count for table in tables]
        pictures = [table.had_picture for table in tables[:1]]
        found = iter(fetch([*columns.values(), *whole, *counts, *pictures]))
        self.media_columns = {kind: next(found) for kind in columns}
        self.padding = None if padding is None else next(found)
        if columns:
            _check_rows(call, self.padding)
        self.stays = None if stays is None else next(found)
        self.positions = None if positions is None else next(found)
        self.cached_visual: dict[int, list[int]] = {id(table): next(found).tolist() for table in tables}
        self.had_picture = next(found) if tables else None

    def split(self, segments: Segments, mask: Any) -> Prompt:
        """The same prompt with a row for each packed sample.

        Args:
            segments: where the samples stand.
            mask: the mask of the decoder's call, already split.
        """
        apart = copy.copy(self)
        apart.media_columns = {kind: segments.take(columns) for kind, columns in self.media_columns.items()}
        apart.mask = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None
        apart.padding = segments.valid if mask is not None else None
        return apart

    def check_columns(self, call: DecoderCall) -> None:
        """Check that the decoder's `call` has the shape of this prompt.

        Raises:
            UnsupportedInputError: the shapes differ, so the call is about something else.
        """
        for columns in self.media_columns.values():
            if tuple(columns.shape) != (call.rows, call.columns):
                raise UnsupportedInputError(
                    f"The decoder was called with {call.columns} columns in {call.rows} rows while a prompt of "
                    f"{columns.shape[1]} in {columns.shape[0]} was on its way to it; call it before or after that."
                )

    @property
    def hides_nothing(self) -> bool:
        """True if there is no mask, or a padding mask that hides no column."""
        if self.mask is None:
            return True
        plain = isinstance(self.mask, Tensor) and self.mask.ndim == 2
        return plain and self.padding is not None and bool(self.padding.all())

    def past_of(self, cache: Any) -> int:
        """Logical columns in the decoder's cache, which may be newer than the prompt's."""
        return self.past if cache is self.cache or cache is None else int(cache.get_seq_length())

    def mask_of(self, mask: Any, cache: Any, past: int, length: int) -> Tensor | None:
        """Logical columns that are not padding, (b, past + length) bool, or None.

        Args:
            mask: the mask of the decoder's call.
            cache: the cache of the decoder's call.
            past: logical columns before this forward.
            length: logical columns of this forward.
        """
        if mask is None:
            return None
        if past == self.past and (mask is self.mask or not (isinstance(mask, Tensor) and mask.ndim == 2)):
            return self.padding
        logical = logical_mask(mask, self.mask, cache, past, length)
        return None if logical is None else fetch([logical])[0]

    def causal(self, mask: Any) -> bool:
        """True if the host knows that the decoder's mask is only causality and padding."""
        return mask is None or (mask is self.mask and isinstance(mask, Tensor))


def _check_rows(call: DecoderCall, padding: Tensor | None) -> None:
    """Check that mask and positions have a row for each row of the prompt.

    A single row serves all rows where it hides nothing.

    Raises:
        UnsupportedInputError: one of them has another number of rows.
    """
    positions, rows = call.positions, call.rows
    if isinstance(positions, Tensor) and positions.ndim > 1 and positions.shape[-2] not in (1, rows):
        raise UnsupportedInputError(
            f"Positions of {positions.shape[-2]} rows do not fit a prompt of {rows}; pass one row for each."
        )
    if padding is not None and padding.shape[0] != rows and not (padding.shape[0] == 1 and bool(padding.all())):
        raise UnsupportedInputError(
            f"An attention mask of {padding.shape[0]} rows does not fit a prompt of {rows}; pass one row for each."
        )


def media_tokens(family: Any, config: Any) -> dict[str, int]:
    """The token id of each kind of medium that the family takes."""
    found = {kind: family.token_id(config, kind) for kind in KINDS if kind == "image" or family.clips}
    return {kind: token for kind, token in found.items() if token is not None}


def _media_columns(
    tokens: Mapping[str, int], embed: Any, ids: Tensor | None, embeds: Tensor | None
) -> dict[str, Tensor]:
    """Columns that carry a medium's token, (b, q) bool, by kind of medium."""
    if ids is not None:
        return {kind: ids == token for kind, token in tokens.items()}
    if embeds is None:
        return {}
    vectors = {
        kind: embed(torch.full((), token, dtype=torch.long, device=embeds.device)) for kind, token in tokens.items()
    }
    return {kind: (embeds == vector).all(dim=-1) for kind, vector in vectors.items()}
