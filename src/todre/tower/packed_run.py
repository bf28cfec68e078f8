"""Packed runs: pictures in one sequence, some units left out before layer 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedModelError
from todre.hf.tower_calls import (
    Arguments,
    arguments_for_tokens,
    packed_bounds_of,
    packed_grids,
    packed_pixels,
    packed_windows,
)
from todre.hf.versions import window_order
from todre.methods.views.vision_tower import Patches
from todre.tensors.autocast import no_autocast
from todre.tower.runs import Lengths, Run
from todre.tower.survivors import PackedRemaining, longest
from todre.tower.tower_plan import TowerPlan


class PackedRun(Run):
    """One call of a tower on packed pictures, (tokens, d), without some units.

    Units are squares of patches that the model merges into one visual token; they leave before the first layer.

    Args:
        plan: where the method acts.
        arguments: the tower's arguments, by name.

    Raises:
        UnsupportedModelError: the arguments hold no packed patches and grids.
    """

    def __init__(self, plan: TowerPlan, arguments: Arguments) -> None:
        super().__init__(plan)
        pixels = packed_pixels(arguments)
        grids = packed_grids(arguments)
        merge = int(plan.config.spatial_merge_size)
        if not isinstance(pixels, Tensor) or pixels.ndim != 2 or grids is None:
            raise UnsupportedModelError(
                "This vision tower is not given packed patches and their grids, so no patches can be left out; "
                "use a method that selects before the LLM."
            )
        sizes = [
            (int(t), int(h) // merge, int(w) // merge)
            for t, h, w in torch.as_tensor(grids, dtype=torch.int64, device="cpu").tolist()
        ]
        units = pixels.reshape(pixels.shape[0] // merge**2, -1)
        with no_autocast(units.device):
            source = plan.method.leave_out(Patches(units, sizes, merge))
        self.full = pixels.shape[0]
        order = unit_order(plan.config, arguments, len(units)).to(source.device)
        self.remaining = PackedRemaining.of(source, order, merge**2)
        self.all_stay = len(self.remaining.seats) == self.full
        self.bounds: list[Tensor] = []

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """Hidden states of the tokens that are left."""
        if hidden.shape[0] != self.full:
            raise UnsupportedModelError(
                f"This vision tower makes {hidden.shape[0]} tokens of {self.full} patches, so those of a patch that is "
                "left out are not known; use a method that selects before the LLM."
            )
        if self.all_stay:
            self.bounds.append(packed_bounds_of(arguments))
            return hidden
        self.remaining = self.remaining.to(hidden.device)
        self.bounds.append(self.remaining.bounds(packed_bounds_of(arguments)))
        return hidden[self.remaining.seats]

    def layer_lengths(self) -> Lengths:
        """Lengths of each picture, or of each window in layers that have windows."""
        return [bounds.diff().tolist() for bounds in self.bounds]

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's arguments with positions and bounds of the tokens that are left."""
        bounds = self.bounds[-1]
        return arguments_for_tokens(arguments, self.remaining.seats, bounds, longest(bounds))

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Hidden states of all tokens."""
        return hidden if self.all_stay else hidden[self.remaining.to(hidden.device).source]

    def whole(self, hidden: Tensor) -> Tensor:
        """Recorded states of all tokens, from the states of the tokens that are left."""
        return hidden if hidden.shape[0] == self.full else hidden[self.remaining.to(hidden.device).source]

    def alive(self) -> Tensor:
        """1 where a token is still there, one row for all pictures."""
        return self.remaining.alive()[None]

    def kept_length(self) -> int:
        """Number of tokens that are left."""
        return len(self.remaining.seats)

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """A signal of all tokens; a token left out gets its predictor's signal."""
        return values[:, self.remaining.to(values.device).source]


def unit_order(config: Any, arguments: Arguments, units: int) -> Tensor:
    """Units in the tower's own order, (u,) int64: by windows, if it has any.

    Args:
        config: of the tower.
        arguments: of the tower's call, by name.
        units: number of units, u.
    """
    windows = packed_windows(arguments)
    window = getattr(config, "window_size", None)
    if windows is not None:
        return windows.long()
    if not window:
        return torch.arange(units, dtype=torch.int64, device="cpu")
    return window_order(packed_grids(arguments), config.spatial_merge_size, window, config.patch_size)
