"""Greedy answers with all questions about a picture in one row.

The prefix of the prompt, up to the picture's end, runs once, and its KV cache is not copied for the questions. All
questions follow the prefix in one row; a mask lets each question see only the prefix and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.cache_layers import PrunedLayer
from todre.hf.decoder_runs import run_decoder, run_layers
from todre.hf.keywords import USE_CACHE
from todre.hf.model_parts import attention_backend, decoder_module, text_config
from todre.hf.token_streaming import closing_tokens
from todre.hf.versions import DynamicCache, DynamicLayer
from todre.tensors.columns import PAD

_HARMLESS = {
    "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config", USE_CACHE,
    "output_attentions", "output_hidden_states", "do_sample", "temperature", "top_p", "top_k", "num_beams",
    "max_length", "max_new_tokens",
}  # fmt: skip
"""Generation settings that change no token of a greedy answer of a fixed length."""


@dataclass(frozen=True)
class PrefixCache:
    """Keys and values of the pictures' prefixes in each decoder layer.

    Attributes:
        keys, values: for each layer, (pictures, heads, s, c).
        valid: for each layer, (pictures, s) bool, True at slots that are not padding; layers with equal slots share one
            tensor.
        lengths: (pictures,) int64, position of the column that follows each prefix.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    lengths: Tensor

    @property
    def uniform(self) -> bool:
        """True if all layers hold the same columns."""
        return all(each is self.valid[0] for each in self.valid)

    @classmethod
    def of(cls, cache: Any, mask: Tensor) -> PrefixCache | None:
        """The prefix cache in `cache`; None where it cannot be shared.

        It cannot be shared if a layer of the cache does not simply grow, or if positions were moved.

        Args:
            cache: the KV cache after the prefixes ran.
            mask: (pictures, longest) bool, True at the prefixes' columns that are not padding.
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
        """A transformers cache that holds these keys and values."""
        made = DynamicCache(config=text_config(model))
        for layer, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            made.update(key, value, layer)
        return made


def plain(model: Any) -> bool:
    """True if greedy decoding of `model` always takes the likeliest token."""
    return set(model.generation_config.to_diff_dict()) <= _HARMLESS


def takes_masks(model: Any) -> bool:
    """True if the decoder's attention takes a boolean mask of queries by keys."""
    return attention_backend(decoder_module(model).config) == "sdpa"


@torch.inference_mode()
def decode(
    model: Any, prefix: PrefixCache, ends: Sequence[Tensor], pictures: Sequence[int], limits: Sequence[int]
) -> list[list[int]]:
    """New tokens of each question by greedy decoding, the closing token included.

    Answers that are finished take no further part.

    Args:
        model: a LLaVA-like model: a decoder, embeddings, and a head.
        prefix: keys and values of the pictures' prefixes.
        ends: (t_i,) token ids of each question behind its picture.
        pictures: 0-based index of each question's picture.
        limits: most new tokens of each answer, at least 1.
    """
    device, head = prefix.lengths.device, model.get_output_embeddings()
    stop = torch.tensor(sorted(closing_tokens(model)), device=device, dtype=torch.int64)
    cache, owners = prefix.cache(model), torch.empty(len(prefix.lengths), 0, dtype=torch.int64, device=device)
    columns = Columns.of(ends, pictures, prefix.lengths)
    rows = torch.tensor(pictures, device=device, dtype=torch.int64)
    behind = prefix.lengths[rows] + torch.tensor([len(end) for end in ends], device=device, dtype=torch.int64)
    tokens: list[list[int]] = [[] for _ in ends]
    asking = list(range(len(ends)))
    for step in range(max(limits)):
        owners = torch.cat([owners, columns.owner], dim=1)
        hidden = _run(model, columns, prefix, owners, cache)
        new = head(hidden[rows[asking], columns.last]).argmax(dim=-1)
        closed = torch.isin(new, stop).tolist()
        for question, token in zip(asking, new.tolist(), strict=True):
            tokens[question].append(token)
        left = [n for n, question in enumerate(asking) if not closed[n] and step + 1 < limits[question]]
        if not left:
            break
        asking = [asking[n] for n in left]
        columns = Columns.single(new[left], behind[asking] + step, asking, rows[asking], len(prefix.lengths))
    return tokens


def _run(model: Any, columns: Columns, prefix: PrefixCache, owners: Tensor, cache: Any) -> Tensor:
    """(pictures, c, d) states of the columns after the last layer.

    Args:
        model: the model.
        columns: the columns of this forward.
        prefix: keys and values of the pictures' prefixes.
        owners: (pictures, k) int64, the question of each column after the prefix; the last columns are `columns`.
        cache: the KV cache.
    """
    decoder, before = decoder_module(model), owners.shape[1] - columns.owner.shape[1]
    distinct = {id(valid): visible(valid, owners, before) for valid in prefix.valid}
    masks = [distinct[id(valid)] for valid in prefix.valid]
    embeds = model.get_input_embeddings()(columns.ids)
    if prefix.uniform:
        return run_decoder(decoder, embeds, masks[0], columns.positions, cache)
    return run_layers(decoder, embeds, masks, columns.positions, cache)


@dataclass(frozen=True)
class Columns:
    """Columns of one forward, (pictures, c) each.

    Attributes:
        ids: int64 token ids.
        positions: int64 position of each column.
        owner: int64 question of each column, -1 at padding.
        last: (questions,) int64 index of each question's last column.
    """

    ids: Tensor
    positions: Tensor
    owner: Tensor
    last: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int], last: Tensor) -> Columns:
        """Columns that are all padding."""
        ids, positions, owner = (torch.full(shape, fill, device=last.device, dtype=torch.int64) for fill in (0, 0, -1))
        return cls(ids, positions, owner, last)

    @classmethod
    def of(cls, ends: Sequence[Tensor], pictures: Sequence[int], lengths: Tensor) -> Columns:
        """Columns of each picture's questions, one question after the other."""
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
    def single(cls, new: Tensor, positions: Tensor, questions: Sequence[int], pictures: Tensor, rows: int) -> Columns:
        """Columns of the next token of the questions that are still being answered.

        Args:
            new: (q,) int64 token of each.
            positions: (q,) int64 position of each.
            questions: the number of each.
            pictures: (q,) int64 picture of each.
            rows: number of pictures.
        """
        last = places_within(pictures.tolist()).to(new.device)
        made = cls.empty((rows, int(last.max()) + 1), last)
        made.ids[pictures, last] = new
        made.positions[pictures, last] = positions
        made.owner[pictures, last] = torch.tensor(list(questions), dtype=torch.int64, device=new.device)
        return made


def places_within(pictures: Sequence[int]) -> Tensor:
    """(questions,) int64, 0-based index of each question among those of its picture."""
    earlier = [list(pictures[:place]).count(picture) for place, picture in enumerate(pictures)]
    return torch.tensor(earlier, dtype=torch.int64, device="cpu")


def visible(valid: Tensor, owners: Tensor, earlier: int) -> Tensor:
    """(pictures, 1, q, s + k) bool mask: a column sees the picture and its question.

    In its own question, a column sees the earlier columns and itself.

    Args:
        valid: (pictures, s) bool, True at slots of the prefixes that are not padding.
        owners: (pictures, k) int64, the question of each column behind the prefixes.
        earlier: number of columns in `owners` that came before this forward.
    """
    rows, behind = owners.shape
    queries = owners[:, earlier:]
    own = queries[:, :, None] == owners[:, None, :]
    order = torch.arange(behind, device=owners.device, dtype=torch.int64)
    own &= order[None, None, :] <= order[None, earlier:, None]
    before = valid[:, None, :].expand(rows, queries.shape[1], valid.shape[1])
    return torch.cat([before, own], dim=2)[:, None]
