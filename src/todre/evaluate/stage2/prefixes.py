"""Prefixes: what a decoder keeps of prompts up to their pictures' ends, by layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import cache_argument
from todre.hf.keywords import IDS, LOGITS_TO_KEEP, MASK, POSITIONS
from todre.hf.layer_spans import LayerSlots, entering_states, run_span
from todre.hf.model_parts import decoder_module, text_config
from todre.hf.picture_features import encoded_argument
from todre.hf.versions import DynamicCache
from todre.tensors.columns import PAD, VISUAL


@dataclass(frozen=True)
class Prefixes:
    """Equally long prefixes of several pictures, after the decoder ran on them.

    Attributes:
        slots: keys and values of each layer, (pictures, heads, s, c).
        visual: (s,) bool, True at visual tokens, which stand in the same slots for all pictures.
        length: position of the column that follows a prefix.
        entered: layer (from 0) to the (pictures, s, d) states that entered it, for the layers that were asked for.
    """

    slots: tuple[LayerSlots, ...]
    visual: Tensor
    length: int
    entered: dict[int, Tensor]

    @property
    def text(self) -> Tensor:
        """(t,) int64, slots that hold no visual token."""
        return (~self.visual).nonzero().flatten()

    def without_layers(self, model: Any, gone: Collection[int]) -> tuple[LayerSlots, ...]:
        """The slots of a decoder that skips the layers `gone`.

        The states that entered the first of them must have been asked for, and nothing may have been pruned.
        """
        first, decoder = min(gone), decoder_module(model)
        span = [layer for layer in range(first, len(self.slots)) if layer not in gone]
        made = [*self.slots[:first], *(LayerSlots() for _ in self.slots[first:])]
        if span:
            states = self.entered[first]
            count = states.shape[1]
            positions = torch.arange(count, device=states.device, dtype=torch.int64).expand(len(states), count)
            run_span(decoder, states, span, positions, made, dict.fromkeys(span))
        return tuple(made)


def run_prefixes(
    model: Any, starts: Sequence[Tensor], features: Sequence[Tensor], keep: Collection[int] = ()
) -> Prefixes:
    """Run `model` on prefixes; inside `todre.prune`, on what stage 1 leaves of them.

    Args:
        model: a LLaVA-like model with Llama's layers.
        starts: (s,) token ids of each prefix, all of the same length and layout.
        features: visual tokens of each picture.
        keep: layers (from 0) whose entering states are kept.

    Raises:
        UnsupportedInputError: the pictures are left with different numbers of visual tokens, or layers with different
            tokens.
    """
    ids, entered = torch.stack(list(starts)), dict[int, Tensor]()
    positions = torch.arange(ids.shape[1], device=ids.device, dtype=torch.int64).expand_as(ids)
    cache = DynamicCache(config=text_config(model))
    inputs = {IDS: ids, MASK: torch.ones_like(ids), POSITIONS: positions, LOGITS_TO_KEEP: 1}
    with entering_states(decoder_module(model), keep, entered.__setitem__):
        model(**inputs, **encoded_argument(features), **cache_argument(model, cache))
    visual = _visual(cache, ids == model.config.image_token_id)
    slots = tuple(LayerSlots(layer.keys, layer.values) for layer in cache.layers)
    return Prefixes(slots, visual, ids.shape[1], entered)


def _visual(cache: Any, shown: Tensor) -> Tensor:
    """(s,) bool, True at the slots of visual tokens.

    Args:
        cache: the cache after the run.
        shown: (pictures, columns) bool, True at the visual columns of the whole prefixes.
    """
    tables = {id(table): table for layer in cache.layers if (table := kv.table_of(layer)) is not None}
    found = [shown] if not tables else [table.kinds == VISUAL for table in tables.values()]
    padded = any(bool((table.kinds == PAD).any()) for table in tables.values())
    alike = len(found) == 1 and bool((found[0] == found[0][:1]).all())
    if padded or not alike or any(layer.keys.shape[2] != found[0].shape[1] for layer in cache.layers):
        raise UnsupportedInputError(
            "These pictures are left with different numbers of visual tokens, or layers with different tokens, which "
            "are not measured together; use a method that keeps an exact number before the decoder alone."
        )
    return found[0][0]
