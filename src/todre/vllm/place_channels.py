"""Places of kept tokens, carried as channels behind their embeddings.

vLLM hands an encoder's outputs on as they are, through its caches and through prefills in chunks, but knows nothing of
which tokens were kept. So each row says where it stands: how far its time, row and column are from the position of its
medium's first column. The numbers are written in digits that bfloat16 and float16 hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from todre.tensors.transfer import upload

_BASE = 256
"""Digits are below this: bfloat16 has whole numbers to 256, float16 more."""
_DIGITS = 3
"""Digits of a coordinate, which may be up to 16,777,215."""
_AXES = 3
"""Time, row and column."""
CHANNELS = _AXES * _DIGITS


def with_places(rows: Tensor, places: Tensor) -> Tensor:
    """Rows with their places behind them, (k, c + CHANNELS).

    Args:
        rows: (k, c) embeddings, with what else is handed on.
        places: (k, 3) int64 on the host, not negative.
    """
    digits = torch.stack([places // _BASE**power % _BASE for power in range(_DIGITS)], dim=-1).flatten(1)
    return torch.cat([rows, upload(digits, rows.device).to(rows.dtype)], dim=1)


def without_places(outputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The rows of several media, and the places of all of them, (k, 3) int64.

    Args:
        outputs: for each medium, what `with_places` made or a slice of its rows.
    """
    rows = [each[:, :-CHANNELS] for each in outputs]
    digits = torch.cat([each[:, -CHANNELS:] for each in outputs]).long().unflatten(1, (_AXES, _DIGITS))
    # Numbers of the host, not a tensor of powers, which would be waited for.
    return rows, sum((digits[..., power] * _BASE**power for power in range(1, _DIGITS)), start=digits[..., 0])


class PlaceShifts(nn.Module):
    """What a step adds to the positions that vLLM gave its tokens.

    One buffer for all steps, as CUDA graphs need; all additions are work of the device, so that captured graphs have
    them too.

    Args:
        tokens: the most tokens of a step.
        device: the device of the model.
    """

    shifts: Tensor

    def __init__(self, tokens: int, device: torch.device) -> None:
        super().__init__()
        # A buffer, which vLLM brings back after sleep.
        self.register_buffer("shifts", torch.zeros(tokens, _AXES, dtype=torch.int64, device=device), persistent=False)

    def put(self, places: Tensor, where: Tensor) -> None:
        """Hold the places of a step's visual tokens until `add`.

        Args:
            places: (k, 3) int64.
            where: (tokens,) bool, the step's k visual tokens.
        """
        # On the host, a mask becomes indices without waiting for the device.
        self.shifts[: len(where)][where] = places.to(self.shifts.device)

    def add(self, positions: Tensor) -> None:
        """Add what is held to a step's positions, in place, and hold nothing.

        Args:
            positions: (3, tokens) int64, the runner's own buffer, which captured graphs read.
        """
        held = self.shifts[: positions.shape[1]]
        positions += held.T
        held.zero_()
