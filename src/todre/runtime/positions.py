"""Positions: what the rotary embedding is loop_positions when the decoder itself must not see gaps.

Gaps in the positions would be read as packed sequences, so the decoder and its layers see contiguous ones, and only
the rotary embedding gets the real ones.
"""

from __future__ import annotations

from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.decoder import Decoder


def shift_positions(
    positions: Tensor, shift: Tensor | None, gone: Tensor | None, decoder: Decoder
) -> tuple[Tensor, Tensor | None]:
    """Positions less what left before them, and the new shift of the conversation.

    Args:
        positions: (b or 1, q), or (axes, b or 1, q) with M-RoPE.
        shift: (b,) how much smaller positions already are than logical ones, or None.
        gone: (b, q) how many tokens left at or before each column, for renumbered positions; None keeps ids.
        decoder: where positions mean more than order, they cannot be renumbered.

    Raises:
        UnsupportedInputError: renumbering where a token's position is its place in a picture, or where layers have
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
    """`real` in the form of `loop_positions`, which the decoder made from contiguous positions for its rotary embedding.

    Decoders with M-RoPE may take a leading row of text positions, and strip it before the embedding.
    """
    if real.ndim == loop_positions.ndim == 3 and real.shape[0] == loop_positions.shape[0] + 1:
        return real[1:]
    if real.ndim == 2 and loop_positions.ndim == 3:
        return real[None].expand(loop_positions.shape[0], -1, -1)
    if real.ndim == 3 and loop_positions.ndim == 2:
        return real[0]  # text positions, or those in time
    return real
