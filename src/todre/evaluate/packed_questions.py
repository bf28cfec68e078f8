"""Answer all questions about each picture in one row, where the picture's part of the prompt is the same for all.

The beginning of the prompt, up to the picture's end, runs once. What is left of it in the KV cache is never copied for
the questions: they stand behind it side by side, and a mask lets each see the picture and itself alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.cache_layers import PrunedLayer
from todre.hf.calls import cache_argument
from todre.hf.versions import DynamicCache, DynamicLayer
from todre.tensors.columns import PAD

_HARMLESS = {
    "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config", "use_cache",
    "output_attentions", "output_hidden_states", "do_sample", "temperature", "top_p", "top_k", "num_beams",
    "max_length", "max_new_tokens",
}  # fmt: skip
"""Settings of a checkpoint's generation that change no token of a greedy answer whose length is given."""


@dataclass(frozen=True)
class PrefixCache:
    """What the decoder's layers hold of the pictures' beginnings.

    Attributes:
        keys, values: of each layer, (pictures, heads, s, c).
        valid: of each layer, (pictures, s) bool, the slots that are not padding; one tensor where layers hold the same.
        lengths: of each picture, the position of what follows.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    lengths: Tensor

    @property
    def uniform(self) -> bool:
        """Whether all layers hold the same columns."""
        return all(each is self.valid[0] for each in self.valid)

    @classmethod
    def of(cls, cache: Any, mask: Tensor) -> PrefixCache | None:
        """Of a cache that `model` filled; None where it is not made of growing layers, or positions were moved.

        Args:
            cache: after the beginnings ran.
            mask: (pictures, longest) bool, their columns that are not padding.
        """
        tables = kv.distinct_tables(cache)
        if any(table.shift is not None for table in tables):
            return None
        if any(type(layer) not in (PrunedLayer, DynamicLayer) for layer in cache.layers):
            return None
        whole = mask.bool()
        shown = {id(table): table.kinds != PAD for table in tables}
        valid = tuple(shown.get(id(kv.table_of(layer)), whole) for layer in cache.layers)
        keys = tuple(layer.keys for layer in cache.layers)
        if any(key.shape[2] != slots.shape[1] for key, slots in zip(keys, valid, strict=True)):
            return None
        return cls(keys, tuple(layer.values for layer in cache.layers), valid, mask.sum(dim=1))

    def cache(self, model: Any) -> Any:
        """A cache of transformers' own that holds it."""
        made = DynamicCache(config=model.config.get_text_config(decoder=True))
        for layer, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            made.update(key, value, layer)
        return made


def plain(model: Any) -> bool:
    """Whether greedy decoding of `model` is taking the likeliest token, with nothing set that changes scores."""
    return set(model.generation_config.to_diff_dict()) <= _HARMLESS


def takes_masks(model: Any) -> bool:
    """Whether the decoder's attention takes a boolean mask that says which column sees which."""
    return bool(model.get_decoder().config._attn_implementation == "sdpa")


@torch.inference_mode()
def decode(
    model: Any, prefix: PrefixCache, ends: Sequence[Tensor], pictures: Sequence[int], limit: int
) -> list[Tensor]:
    """New tokens of each question, greedily, up to and with the closing one, at most `limit`.

    Args:
        model: a LLaVA-like model: a decoder, embeddings, and a head.
        prefix: what it holds of the pictures.
        ends: (t_i,) token ids of each question behind its picture.
        pictures: of each question, which picture.
        limit: most new tokens.
    """
    device, rows = prefix.lengths.device, len(prefix.lengths)
    pictures_at = torch.tensor(pictures, device=device, dtype=torch.int64)
    slots = _slots(pictures)
    stop = torch.tensor(_stops(model), device=device, dtype=torch.int64)
    cache, owners = prefix.cache(model), torch.empty(rows, 0, dtype=torch.int64, device=device)
    columns = _Columns.of(ends, pictures, prefix.lengths)
    said: list[list[Tensor]] = [[] for _ in ends]
    open_ = torch.ones(len(ends), dtype=torch.bool, device=device)
    lengths = prefix.lengths[pictures_at] + torch.tensor([len(end) for end in ends], device=device, dtype=torch.int64)
    for step in range(limit):
        owners = torch.cat([owners, columns.owner], dim=1)
        hidden = _run(model, columns, prefix, owners, cache)
        last = hidden[pictures_at, columns.last]
        new = model.get_output_embeddings()(last).argmax(dim=-1)
        for question in open_.nonzero().flatten().tolist():
            said[question].append(new[question])
        open_ &= ~torch.isin(new, stop)
        if not bool(open_.any()):
            break
        columns = _Columns.single(new, lengths + step, pictures_at, slots, rows)
    return [torch.stack(each) for each in said]


def _run(model: Any, columns: _Columns, prefix: PrefixCache, owners: Tensor, cache: Any) -> Tensor:
    """(pictures, c, d) states of the columns after the last layer; `owners` ends in theirs."""
    decoder, seen = model.get_decoder(), owners.shape[1] - columns.owner.shape[1]
    masks = {id(valid): _visible(valid, owners, seen) for valid in prefix.valid}
    hidden = model.get_input_embeddings()(columns.ids)
    if prefix.uniform:
        mask = masks[id(prefix.valid[0])]
        given = {"attention_mask": mask, "position_ids": columns.positions}
        states: Tensor = decoder(inputs_embeds=hidden, **given, **cache_argument(decoder, cache)).last_hidden_state
        return states
    rotary = decoder.rotary_emb(hidden, position_ids=columns.positions)
    for layer, valid in zip(decoder.layers, prefix.valid, strict=True):
        hidden = layer(
            hidden,
            attention_mask=masks[id(valid)],
            position_ids=columns.positions,
            position_embeddings=rotary,
            **cache_argument(layer, cache),
        )
    normed: Tensor = decoder.norm(hidden)
    return normed


@dataclass(frozen=True)
class _Columns:
    """What goes in at once: (pictures, c) ids, positions and owners (the question, -1 at padding); each one's last."""

    ids: Tensor
    positions: Tensor
    owner: Tensor
    last: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int], last: Tensor) -> _Columns:
        """Padding alone."""
        ids, positions, owner = (torch.full(shape, fill, device=last.device, dtype=torch.int64) for fill in (0, 0, -1))
        return cls(ids, positions, owner, last)

    @classmethod
    def of(cls, ends: Sequence[Tensor], pictures: Sequence[int], lengths: Tensor) -> _Columns:
        """The questions about each picture one after the other."""
        filled = [0] * len(lengths)
        starts = []
        for end, picture in zip(ends, pictures, strict=True):
            starts.append(filled[picture])
            filled[picture] += len(end)
        shape = (len(lengths), max(filled))
        last = [start + len(end) - 1 for start, end in zip(starts, ends, strict=True)]
        made = cls.empty(shape, torch.tensor(last, device=lengths.device, dtype=torch.int64))
        for question, (end, picture, start) in enumerate(zip(ends, pictures, starts, strict=True)):
            where = slice(start, start + len(end))
            made.ids[picture, where] = end
            made.positions[picture, where] = lengths[picture] + torch.arange(
                len(end), device=lengths.device, dtype=torch.int64
            )
            made.owner[picture, where] = question
        return made

    @classmethod
    def single(cls, new: Tensor, positions: Tensor, pictures: Tensor, slots: Tensor, rows: int) -> _Columns:
        """The next token of each question."""
        shape = (rows, int(slots.max()) + 1)
        made = cls.empty(shape, slots.to(new.device))
        made.ids[pictures, made.last] = new
        made.positions[pictures, made.last] = positions
        made.owner[pictures, made.last] = torch.arange(len(new), device=new.device, dtype=torch.int64)
        return made


def _slots(pictures: Sequence[int]) -> Tensor:
    """(questions,) int64, the how manieth about its picture each is."""
    earlier = [list(pictures[:place]).count(picture) for place, picture in enumerate(pictures)]
    return torch.tensor(earlier, dtype=torch.int64, device="cpu")


def _visible(valid: Tensor, owners: Tensor, seen: int) -> Tensor:
    """(pictures, 1, q, s + k) bool: each column sees the picture, and what came up to it of its own question.

    Args:
        valid: (pictures, s) bool, of the beginnings.
        owners: (pictures, k), of all columns behind these.
        seen: how many of them came before.
    """
    rows, behind = owners.shape
    queries = owners[:, seen:]
    own = queries[:, :, None] == owners[:, None, :]
    order = torch.arange(behind, device=owners.device, dtype=torch.int64)
    own &= order[None, None, :] <= order[None, seen:, None]
    before = valid[:, None, :].expand(rows, queries.shape[1], valid.shape[1])
    return torch.cat([before, own], dim=2)[:, None]


def _stops(model: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [int(ends)]
