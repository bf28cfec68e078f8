"""Packed runs: pictures in one sequence, from which whole units are left out before the first layer."""

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
    """Pictures packed into one sequence, (tokens, d), from which whole units are left out before the first layer."""

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
        order = _unit_order(plan.config, grids, packed_windows(arguments), len(units)).to(source.device)
        self.remaining = PackedRemaining.of(source, order, merge**2)
        self.all_stay = len(self.remaining.seats) == self.full
        self.bounds: list[Tensor] = []

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """Take the tokens that are left."""
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
        """Those of each picture, or of each window in layers that have windows."""
        return [bounds.diff().tolist() for bounds in self.bounds]

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """Positions of the tokens that are left, and where their pictures or windows start and end."""
        bounds = self.bounds[-1]
        return arguments_for_tokens(arguments, self.remaining.seats, bounds, longest(bounds))

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Put the tokens back."""
        return hidden if self.all_stay else hidden[self.remaining.to(hidden.device).source]

    def whole(self, hidden: Tensor) -> Tensor:
        """Recorded after the patches were left out."""
        return hidden if hidden.shape[0] == self.full else hidden[self.remaining.to(hidden.device).source]

    def alive(self) -> Tensor:
        """One row for all pictures."""
        return self.remaining.alive()[None]

    def kept_length(self) -> int:
        """Those that are left."""
        return len(self.remaining.seats)

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """Each token that was left out has the values of the one it was predicted from."""
        return values[:, self.remaining.to(values.device).source]


def _unit_order(config: Any, grids: Any, windows: Tensor | None, units: int) -> Tensor:
    """(u,) the units in the order in which the tower has them: permuted into windows, if it has windows."""
    window = getattr(config, "window_size", None)
    if windows is not None:
        return windows.long()
    if not window:
        return torch.arange(units, dtype=torch.int64, device="cpu")
    return window_order(grids, config.spatial_merge_size, window, config.patch_size)
