"""Positions of the rotary embedding, where the decoder itself must not see gaps.

Backends read gaps in positions as packed samples. So the decoder and its layers get contiguous positions, and only the
rotary embedding gets the real ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, contiguous
from todre.hf.decoder import Decoder
from todre.runtime.step import Step
from todre.tensors.columns import Compaction
from todre.tensors.slots import SlotTable


def shift_positions(positions: Tensor, shift: Tensor | None, gone: Tensor | None, decoder: Decoder) -> Tensor:
    """Positions renumbered for tokens that left before them.

    Args:
        positions: (b or 1, q), or (axes, b or 1, q) with M-RoPE.
        shift: (b,) logical column minus position so far, or None.
        gone: (b, q) number of tokens that left at or before each column; None keeps the original positions.
        decoder: the decoder's facts.

    Raises:
        UnsupportedInputError: renumbering is asked for, and positions are places in a picture (M-RoPE) or layers have
            windows.
    """
    if gone is not None:
        if positions.ndim == 3:
            raise UnsupportedInputError(
                "positions='compact' would move the parts of pictures that this model places in time, height and "
                "width (M-RoPE); use positions='original'."
            )
        if not decoder.uniform:
            raise UnsupportedInputError(
                "positions='compact' would change what the windows of this decoder's layers see; "
                "use positions='original'."
            )
    if shift is not None:
        positions = positions - shift[:, None]
    return positions if gone is None else positions - gone


def match_axes(real: Tensor, loop_positions: Tensor) -> Tensor:
    """The real positions, with as many axes as the decoder loop's positions have.

    Args:
        real: (b, q) or (axes, b, q) positions of the columns in flight.
        loop_positions: the contiguous positions that the decoder passes on, in its own form.
    """
    # Decoders with M-RoPE may take a leading axis of text positions and strip it before the rotary embedding
    # (Qwen-VL, seen in 5.24).
    if real.ndim == loop_positions.ndim == 3 and real.shape[0] == loop_positions.shape[0] + 1:
        return real[1:]
    if real.ndim == 2 and loop_positions.ndim == 3:
        return real[None].expand(loop_positions.shape[0], -1, -1)
    if real.ndim == 3 and loop_positions.ndim == 2:
        return real[0]  # text positions, or those in time
    return real


def set_positions(step: Step, call: DecoderCall, packing: Compaction | None) -> Tensor | None:
    """Set the step's rotary positions.

    Args:
        step: the forward; its `rotary_positions` are set where the model's own are not right.
        call: the decoder's call.
        packing: from the columns that came in to those that are kept; None if all are.

    Returns:
        (b, past + length) the tables' new shift after each column, or None.
    """
    inputs = step.inputs
    tables = kv.distinct_tables(inputs.cache)
    table = tables[0] if tables else None
    shift = None if table is None else table.shift
    if packing is None and shift is None:
        return None
    positions = call.positions
    if positions is None:
        positions = contiguous(inputs.past, inputs.length, step.in_flight.columns.device)
    gone = None
    compacts = inputs.method is not None and inputs.method.positions == "compact"
    if packing is not None and compacts and inputs.visual is not None and step.selection is not None:
        gone = (inputs.visual & ~step.selection.keep).cumsum(dim=1)
    positions = shift_positions(positions, shift, gone, inputs.decoder)
    step.rotary_positions = packing.take_positions(positions) if packing is not None else positions
    return _shifts(table, inputs.past, inputs.length, gone)


def _shifts(table: SlotTable | None, past: int, length: int, gone: Tensor | None) -> Tensor | None:
    """What the tables' shift is after each column, (b, past + length).

    It is None if no token was ever renumbered.

    Args:
        table: the tables' first, before this forward.
        past: logical columns before this forward.
        length: logical columns of this forward.
        gone: (b, length) number of tokens of this forward that left at or before each column, or None.
    """
    shift = None if table is None else table.shift
    if table is None or table.shifts is None or shift is None:
        return None if gone is None else torch.cat([gone.new_zeros(gone.shape[0], past), gone], dim=1)
    later = shift[:, None].expand(-1, past - table.covered)
    now = shift[:, None] + (torch.zeros(1, length, dtype=shift.dtype, device=shift.device) if gone is None else gone)
    return torch.cat([table.shifts, later, now], dim=1)
