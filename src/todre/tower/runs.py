"""One call of a vision tower while its tokens are reduced: tiles side by side, or pictures packed into one sequence."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.hf.versions import window_order
from todre.methods.views.vision_tower import Patches, TowerContext, TowerMethod
from todre.tensors.attention import AttentionInputs
from todre.tensors.autocast import no_autocast
from todre.tower.survivors import Packed, Remaining, longest

Lengths = list[list[int]]
"""By layer, how many tokens each sequence has, [CLS] counted: each tile, or of packed pictures each part that attends
within itself (a picture, a step in time, a window)."""


@dataclass(frozen=True)
class Plan:
    """Where a method acts in one tower.

    Attributes:
        method: what is asked.
        layers: the tower's layers in order.
        attention: their attention modules.
        after: counts of layers run after which the method is asked; 0 is before the first.
        depth: layers run when features are taken.
        first: tokens before the patches of each tile ([CLS], registers).
        packed: whether pictures are packed into one sequence.
        crops: whether the method leaves out whole tiles.
        config: the tower's.
        watched: by place among all attention modules of the tower, the layer it belongs to.
    """

    method: TowerMethod
    layers: list[nn.Module]
    attention: list[nn.Module]
    after: tuple[int, ...]
    depth: int
    first: int
    packed: bool
    crops: bool
    config: Any
    watched: dict[int, int]

    def layer(self, layer: float) -> int:
        """The index of a layer: counted as Python does over the tower's attention modules, or a share of the depth."""
        count = max(self.watched) + 1
        place = math.floor(layer * count + 1e-9) if isinstance(layer, float) else layer
        return self.watched[place % count]


class Run:
    """One call of a tower."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: AttentionInputs | None = None

    def ran(self) -> Lengths:
        """What the layers ran on."""
        raise NotImplementedError

    def enter(self, index: int, hidden: Tensor, given: dict[str, Any]) -> Tensor:
        """The states that the layer `index` runs on, of all states; the same object if they are all there."""
        raise NotImplementedError

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """The layer's other arguments, for the tokens that are left."""
        return given

    def bias(self, attention: nn.Module) -> Tensor | None:
        """What the layer's attention adds to its logits."""
        return None

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """All states after the layer `index`."""
        raise NotImplementedError

    def whole(self, hidden: Tensor) -> Tensor:
        """All states that entered the first layer, of those that were recorded."""
        return hidden

    def alive(self) -> Tensor:
        """(tiles, tokens) float32: 1 where a token is still there; [CLS] left out."""
        raise NotImplementedError

    def seen_length(self) -> int:
        """Tokens that the layers of a packed tower ran on."""
        raise NotImplementedError

    def completed(self, layer: float, values: Tensor) -> Tensor:
        """(tiles, tokens, c) of all tokens, from what a layer saw of those that were left; [CLS] left out."""
        raise NotImplementedError


class TileRun(Run):
    """Tiles side by side: (tiles, tokens, d)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.left: Remaining | None = None
        self.was: dict[int, Remaining | None] = {}
        self.widths: list[int] = []
        self.shape = (0, 0)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def enter(self, index: int, hidden: Tensor, given: dict[str, Any]) -> Tensor:
        """Take the tokens that are left."""
        if index == 0:
            self.shape, self.device = (hidden.shape[0], hidden.shape[1]), hidden.device
        check_mask(given.get("attention_mask"))
        self.was[index], self.dtype = self.left, hidden.dtype
        self.seen = None
        self.widths.append(self.shape[1] if self.left is None else self.left.seats.shape[1])
        if self.left is None:
            return hidden
        self.left = self.left.to(hidden.device)
        return self.left.shorten(hidden)

    def ran(self) -> Lengths:
        """As many in each tile."""
        return [[width] * self.shape[0] for width in self.widths]

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """A mask that hides nothing is dropped with the tokens."""
        return unmasked(given)

    def bias(self, attention: nn.Module) -> Tensor | None:
        """(tiles, 1, 1, s) the logarithm of each token's size."""
        if self.left is None or not self.left.proportional:
            return None
        backend = attention.config._attn_implementation  # type: ignore[union-attr]
        if backend not in ("sdpa", "eager") or "attention_mask" not in inspect.signature(attention.forward).parameters:
            raise UnsupportedModelError(
                f"Attention by '{backend}' in this vision tower cannot count a token as often as it is large; use "
                "proportional=False, or load the model with attn_implementation='sdpa'."
            )
        return self.left.size.log()[:, None, None].to(self.dtype)

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Merge, and put the tokens back."""
        if index + 1 in self.plan.after:
            hidden = self._merge(index + 1, hidden)
        return hidden if self.left is None else self.left.to(hidden.device).spread(hidden)

    def _merge(self, layer: int, hidden: Tensor) -> Tensor:
        if self.seen is None:
            raise UnsupportedInputError(
                "The vision tower's attention was not seen; load the model with attn_implementation='sdpa'."
            )
        plan, first, (tiles, full) = self.plan, self.plan.first, self.shape
        left = (self.left or Remaining.everyone(tiles, full, hidden.device)).to(hidden.device)
        patches = full - first
        context = TowerContext(layer, plan.depth, patches, first, hidden, self.seen, left.size, left.seats - first)
        self.seen = None
        with no_autocast(hidden.device):
            merging = plan.method.merge(context)
        if bool(merging.keep.all()) and merging.hidden is None and self.left is None:
            return hidden
        self.left = left.after(merging)
        changed = hidden if merging.hidden is None else merging.hidden
        return changed[merging.keep].view(tiles, -1, hidden.shape[-1])

    def alive(self) -> Tensor:
        """From the places that are still taken."""
        if self.left is None:
            return torch.ones(self.shape[0], self.shape[1] - self.plan.first, device=self.device, dtype=torch.float32)
        return self.left.alive()[:, self.plan.first :]

    def completed(self, layer: float, values: Tensor) -> Tensor:
        """Spread over the places of the tokens that went into each."""
        left, first = self.was[self.plan.layer(layer)], self.plan.first
        if left is None:
            return values
        head = values.new_zeros(values.shape[0], first, values.shape[2])
        return left.to(values.device).spread(torch.cat([head, values], dim=1))[:, first:]


class PackedRun(Run):
    """Pictures packed into one sequence, (tokens, d), from which whole units are left out before the first layer."""

    def __init__(self, plan: Plan, given: dict[str, Any]) -> None:
        super().__init__(plan)
        pixels = next((given[name] for name in ("hidden_states", "pixel_values") if name in given), None)
        grids = given.get("grid_thw")
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
        order = _unit_order(plan.config, grids, given.get("window_index"), len(units)).to(source.device)
        self.left = Packed.of(source, order, merge**2)
        self.everyone = len(self.left.seats) == self.full
        self.bounds: list[Tensor] = []

    def enter(self, index: int, hidden: Tensor, given: dict[str, Any]) -> Tensor:
        """Take the tokens that are left."""
        if hidden.shape[0] != self.full:
            raise UnsupportedModelError(
                f"This vision tower makes {hidden.shape[0]} tokens of {self.full} patches, so those of a patch that is "
                "left out are not known; use a method that selects before the LLM."
            )
        if self.everyone:
            self.bounds.append(given["cu_seqlens"])
            return hidden
        self.left = self.left.to(hidden.device)
        self.bounds.append(self.left.bounds(given["cu_seqlens"]))
        return hidden[self.left.seats]

    def ran(self) -> Lengths:
        """Those of each picture, or of each window in layers that have windows."""
        return [bounds.diff().tolist() for bounds in self.bounds]

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Positions of the tokens that are left, and where their pictures or windows start and end."""
        bounds = self.bounds[-1]
        positions = tuple(part[self.left.seats.to(part.device)] for part in given["position_embeddings"])
        changed: dict[str, Any] = {"cu_seqlens": bounds, "position_embeddings": positions}
        if isinstance(given.get("max_seqlen"), int):
            changed["max_seqlen"] = longest(bounds)
        elif isinstance(given.get("max_seqlen"), Tensor):
            changed["max_seqlen"] = torch.full_like(given["max_seqlen"], longest(bounds))
        return given | changed

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Put the tokens back."""
        return hidden if self.everyone else hidden[self.left.to(hidden.device).source]

    def whole(self, hidden: Tensor) -> Tensor:
        """Recorded after the patches were left out."""
        return hidden if hidden.shape[0] == self.full else hidden[self.left.to(hidden.device).source]

    def alive(self) -> Tensor:
        """One row for all pictures."""
        return self.left.alive()[None]

    def seen_length(self) -> int:
        """Those that are left."""
        return len(self.left.seats)

    def completed(self, layer: float, values: Tensor) -> Tensor:
        """Each token that was left out has the values of the one it was predicted from."""
        return values[:, self.left.to(values.device).source]


def _unit_order(config: Any, grids: Any, given: Tensor | None, units: int) -> Tensor:
    """(u,) the units in the order in which the tower has them: permuted into windows, if it has windows."""
    window = getattr(config, "window_size", None)
    if given is not None:
        return given.long()
    if not window:
        return torch.arange(units, dtype=torch.int64, device="cpu")
    return window_order(grids, config.spatial_merge_size, window, config.patch_size)


def tally(calls: Iterable[Lengths]) -> list[list[tuple[int, int]]]:
    """By layer, over all calls of a tower: (tokens, how many sequences of so many), ascending."""
    layers: list[Counter[int]] = []
    for call in calls:
        layers += [Counter() for _ in range(len(call) - len(layers))]
        for layer, lengths in zip(layers, call, strict=False):
            layer.update(lengths)
    return [sorted(layer.items()) for layer in layers]


def unmasked(given: dict[str, Any]) -> dict[str, Any]:
    """A layer's arguments without a mask, which hides nothing."""
    return given | {"attention_mask": None} if "attention_mask" in given else given


def check_mask(mask: Any) -> None:
    """Raise if the tower hides some of its tokens from others."""
    if isinstance(mask, Tensor) and not bool((mask if mask.dtype == torch.bool else mask == 0).all()):
        raise UnsupportedInputError(
            "These pictures are padded, and the vision tower masks their padding, which cannot be merged with them; "
            "pass pictures of one size, or use a method that selects before the LLM."
        )
