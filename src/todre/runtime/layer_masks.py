"""The attention mask of each decoder layer in one forward, once tokens have left.

The caller's and the model's own masks are read in `runtime/incoming_masks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.hf.decoder import CHUNKED, FULL, SLIDING, Decoder
from todre.hf.model_parts import attention_backend
from todre.hf.versions import causal_mask
from todre.runtime.incoming_masks import takes_no_mask
from todre.runtime.step import Step
from todre.tensors.columns import PAD
from todre.tensors.slots import SlotTable

_MASK_BACKENDS = ("sdpa", "eager")
"""Attention backends that take a mask as one (b, 1, q, s) tensor."""


def set_masks(step: Step, call: DecoderCall, embeds: Tensor) -> None:
    """Plan each layer's mask, and give the decoder a mask to start from."""
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
    if kind not in (FULL, SLIDING, CHUNKED):
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
    return _special_mask(
        step.inputs.decoder, kind, _KeySlots(columns, valid, queries, step.inputs.past, pads, block_mask), embeds.dtype
    )


def _recurrent_mask(step: Step, queries: int) -> Tensor | None:
    """The mask of recurrent layers, (b, q) int64, 0 at padding, or None."""
    if queries == 1:
        return None
    if not step.in_flight.padded:
        return None
    if not step.in_flight.packed and step.inputs.mask is not None:
        return step.inputs.mask[:, -queries:].long()
    return ((step.in_flight.columns >= 0) & (step.in_flight.kinds != PAD)).long()


@dataclass(frozen=True)
class _KeySlots:
    """The key slots of a layer during one forward; the last q belong to the queries.

    Attributes:
        columns: (b, s) int64 logical column of each slot, -1 at padding.
        valid: (b, s) bool, False at padding.
        queries: q.
        past: logical columns before this forward.
        pads: (b,) int64, columns of padding at the left of each row.
        block_mask: (b or 1, l, l) bool, True where the model's own mask allows attention among the l logical columns
            of this forward; None where attention is causal.
    """

    columns: Tensor
    valid: Tensor
    queries: int
    past: int
    pads: Tensor
    block_mask: Tensor | None


def _special_mask(decoder: Decoder, kind: str, slots: _KeySlots, dtype: torch.dtype) -> Tensor:
    """The mask of a layer without plain causal attention, (b, 1, q, s).

    For SDPA the mask is bool; for eager attention it is added to the logits. Windows and chunks are those of the
    logical columns: when a token leaves, others do not come nearer.

    Args:
        decoder: the decoder's facts.
        kind: type of the layer.
        slots: the layer's key slots.
        dtype: dtype of the hidden states.

    Raises:
        UnsupportedInputError: the attention backend takes no mask of this kind.
    """
    backend = attention_backend(decoder.config)
    if backend not in _MASK_BACKENDS:
        raise takes_no_mask(backend, "a window" if kind in (SLIDING, CHUNKED) else "attention within pictures")
    columns, queries = slots.columns, slots.queries
    query_columns = columns[:, -queries:]
    slot = torch.arange(columns.shape[1], device=columns.device, dtype=torch.int64)
    allowed = (slot[None, :] <= slot[-queries:, None]).expand(columns.shape[0], queries, -1)
    if kind == SLIDING:
        allowed = allowed & (query_columns[:, :, None] - columns[:, None, :] < decoder.window)
    if kind == CHUNKED:
        chunk = (columns - slots.pads[:, None]).div(decoder.chunk, rounding_mode="floor")
        allowed = allowed & (chunk[:, None, :] == chunk[:, -queries:, None])
    if slots.block_mask is not None:
        allowed = _with_block_mask(slots, slots.block_mask, query_columns, allowed)
    allowed = allowed & slots.valid[:, None, :]
    # A query that sees nothing, as at padding, would make its softmax NaN; it sees itself instead.
    itself = slot[None, :] == slot[-queries:, None]
    allowed = (allowed | (itself[None] & ~allowed.any(dim=-1, keepdim=True)))[:, None]
    if backend == "sdpa":
        return allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def _with_block_mask(slots: _KeySlots, block_mask: Tensor, query_columns: Tensor, earlier: Tensor) -> Tensor:
    """The keys that each query sees, (b, q, s) bool, by the model's own mask.

    Args:
        slots: the layer's key slots.
        block_mask: (b or 1, l, l) bool, for this forward's columns.
        query_columns: (b, q) int64 logical column of each query.
        earlier: (b, q, s) bool, keys in columns of earlier forwards that each query sees.
    """
    rows, length = slots.columns.shape[0], block_mask.shape[-1]
    local = block_mask.expand(rows, length, length)
    query = (query_columns - slots.past).clamp(min=0)
    key = slots.columns - slots.past
    picked = local.gather(1, query[:, :, None].expand(-1, -1, length))
    picked = picked.gather(2, key.clamp(min=0)[:, None, :].expand(-1, query_columns.shape[1], -1))
    return torch.where((key >= 0)[:, None, :], picked, earlier)
