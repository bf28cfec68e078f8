"""Continuation: a forward without pictures on a cache that was pruned."""

from __future__ import annotations

from typing import Any

import torch

from todre.hf.calls import DecoderCall, embeddings_of
from todre.hf.decoder import Decoder
from todre.runtime.incoming_masks import block_masks_of, logical_mask
from todre.runtime.layer_masks import set_masks
from todre.runtime.positions import set_positions
from todre.runtime.prefill import incoming_columns
from todre.runtime.step import DecoderInputs, InFlight, Step
from todre.tensors.slots import SlotTable


def continuation(decoder: Decoder, tables: list[SlotTable], outer: Any, call: DecoderCall) -> Step | None:
    """The step of a forward without pictures; None if the decoder needs no step.

    Args:
        decoder: the decoder's facts.
        tables: the distinct slot tables of the cache; the call's columns are announced to them.
        outer: the mask of the enclosing model's call.
        call: the decoder's call, changed in place.
    """
    for table in tables:
        table.begin(call.columns)
    if all(table.identity for table in tables):
        return None
    past = int(call.cache.get_seq_length())
    mask = logical_mask(call.mask, outer, call.cache, past, call.columns)
    step = Step(
        inputs=DecoderInputs(
            decoder=decoder,
            cache=call.cache,
            past=past,
            length=call.columns,
            mask=mask,
            block_masks=block_masks_of(call.mask, call.columns) if call.columns > 1 else None,
        ),
        in_flight=InFlight(
            columns=incoming_columns(past, call),
            kinds=torch.empty(0, dtype=torch.int8, device="cpu"),
            padded=mask is not None,
        ),
    )
    set_positions(step, call, None)
    set_masks(step, call, embeddings_of(call))
    return step
