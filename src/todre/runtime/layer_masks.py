"""The attention mask of each decoder layer in one forward, once tokens have left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.hf.decoder import FULL
from todre.hf.versions import causal_mask
from todre.runtime.masks import KeySlots, layer_mask
from todre.runtime.step import Step
from todre.tensors.columns import PAD
from todre.tensors.slots import SlotTable


def set_masks(step: Step, call: DecoderCall, embeds: Tensor) -> None:
    """Plan each layer's mask, and give the decoder one that it can start from."""
    plan_masks(step, 0, embeds)
    # The decoder builds one mask for all its layers, or a mapping by layer type, from the mask it is called with.
    attending = [index for index in range(step.n_layers) if step.inputs.decoder.attends(index)]
    if all(index in step.masks for index in attending):
        call.mask = _for_decoder(step, call.mask, step.masks[attending[0]])


def plan_masks(step: Step, start: int, embeds: Tensor) -> None:
    """Build the masks of all layers from index `start` (from 0) on.

    One mask is built for each distinct set of slots and type of layer.
    """
    made: dict[tuple[int, str], Any] = {}
    for index in range(start, step.n_layers):
        kind = step.inputs.decoder.layer_kinds[index]
        layer = step.cache_layer(index)
        table = kv.table_of(layer) if layer is not None else None
        if step.inputs.cache is not None and step.inputs.decoder.attends(index) and (table is None or table.identity):
            continue
        key = (id(table), kind)
        if key not in made:
            made[key] = _mask_of(step, kind, layer, table, embeds)
        step.masks[index] = made[key]


def _for_decoder(step: Step, mask: Any, first: Any) -> Any:
    """The decoder's own mask argument; each layer gets its own mask later anyway.

    Args:
        step: the running forward.
        mask: the mask that the decoder was called with: one for all layers, or a mapping by layer type.
        first: the mask of the first layer with attention.
    """
    if not isinstance(mask, Mapping):
        return first
    by_kind = {step.inputs.decoder.layer_kinds[index]: each for index, each in step.masks.items()}
    return {kind: by_kind.get(kind, first) for kind in mask}


def _mask_of(step: Step, kind: str, layer: Any, table: SlotTable | None, embeds: Tensor) -> Any:
    """The mask of one layer.

    Args:
        step: the running forward.
        kind: type of the layer.
        layer: its cache layer, or None.
        table: its slot table, or None.
        embeds: (b, q, d) hidden states that enter it.
    """
    queries, rows = embeds.shape[1], embeds.shape[0]
    if kind not in (FULL, "sliding_attention", "chunked_attention"):
        return _recurrent_mask(step, queries)
    total = step.inputs.past + step.inputs.length
    if table is None:
        columns = step.in_flight.columns
        valid = (columns >= 0) & (step.in_flight.kinds != PAD)
        padded, slots, capacity = step.in_flight.padded, 0, None
    else:
        known = table.valid_slots(total, step.inputs.mask)
        columns = table.at_length(total)[0]
        valid = known if known is not None else torch.ones_like(columns, dtype=torch.bool)
        padded, slots = known is not None, int(kv.slots_of(layer))
        capacity = layer.max_cache_len if kv.is_static(layer) else None
    blocks = step.inputs.block_masks
    block_mask = None if blocks is None else blocks.get(kind, blocks.get(""))
    if kind == FULL and block_mask is None:
        return causal_mask(
            step.inputs.decoder.config, embeds, valid.to(embeds.device) if padded else None, slots, capacity
        )
    pads = torch.zeros(rows, dtype=torch.long, device=columns.device)
    if step.inputs.mask is not None:
        pads = (~step.inputs.mask).long().cumprod(dim=1).sum(dim=1)
    return layer_mask(
        step.inputs.decoder, kind, KeySlots(columns, valid, queries, step.inputs.past, pads, block_mask), embeds.dtype
    )


def _recurrent_mask(step: Step, queries: int) -> Tensor | None:
    """The mask of layers with a state, (b, q) int64, 0 at padding, or None."""
    if queries == 1:
        return None
    if not step.in_flight.padded:
        return None
    if not step.in_flight.packed and step.inputs.mask is not None:
        return step.inputs.mask[:, -queries:].long()
    return ((step.in_flight.columns >= 0) & (step.in_flight.kinds != PAD)).long()
