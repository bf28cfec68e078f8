"""Upright RGB pictures of decoded frames.

The display matrix that cameras write says how a frame is turned and mirrored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_TURNS: dict[tuple[int, ...], Image.Transpose | None] = {
    (1, 0, 0, 1): None,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""Signs of the display matrix (a, b, c, d) → the turn or mirroring for PIL.

The matrix shows the pixel (p, q) at (a·p + c·q, b·p + d·q). PIL names turns counter-clockwise; y points down
(ISO/IEC 14496-12, section 8.3.2: the track header's matrix).
"""


def upright(frame: Any) -> Image.Image:
    """A fresh 8-bit RGB picture of the frame, turned as its display matrix says."""
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    turn = _TURNS.get(_signs(frame))
    return picture if turn is None else picture.transpose(turn)


def has_odd_angle(frame: Any) -> bool:
    """True if the display matrix does more than quarter turns and mirrors.

    `upright` then leaves the frame as it is.
    """
    return _signs(frame) not in _TURNS


def _signs(frame: Any) -> tuple[int, ...]:
    """Signs of the display matrix's (a, b, c, d)."""
    matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return (1, 0, 0, 1)
    values = np.frombuffer(bytes(matrix), dtype=np.int32)
    parts = values[[0, 1, 3, 4]].astype(np.float64)
    return tuple(int(sign) for sign in np.rint(parts / max(np.abs(parts).max(), 1.0)))
