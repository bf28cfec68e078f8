"""Positions of the rotary embedding, where the decoder itself must not see gaps.

Backends read gaps in positions as packed samples. So the decoder and its layers get contiguous positions, and only the
rotary embedding gets the real ones.
"""

from __future__ import annotations

from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.decoder import Decoder


def shift_positions(
    positions: Tensor, shift: Tensor | None, gone: Tensor | None, decoder: Decoder
) -> tuple[Tensor, Tensor | None]:
    """Positions renumbered for tokens that left before them, and the new shift.

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
    if gone is not None:
        positions = positions - gone
        shift = gone[:, -1] if shift is None else shift + gone[:, -1]
    return positions, shift


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
