"""Runs: one call of a vision tower on fewer tokens, layer by layer.

`Run` says what the hooks ask of it; `TileRun` merges tokens of tiles between layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.hf.model_parts import attention_backend
from todre.hf.tower_calls import (
    Arguments,
    attention_mask_of,
    takes_mask,
    without_mask,
)
from todre.methods.views.vision_tower import TowerContext
from todre.tensors.attention import AttentionInputs
from todre.tensors.autocast import no_autocast
from todre.tower.survivors import Remaining
from todre.tower.tower_plan import TowerPlan

Lengths = list[list[int]]
"""Tokens of each sequence, by layer, with [CLS].

A sequence is a tile or, in packed pictures, a part that attends within itself: a picture, a frame, a window.
"""


class Run:
    """One call of a tower; layers are given by index, from 0.

    Attributes:
        plan: where the method acts.
        attention_inputs: inputs of the last watched attention, until the method is asked.
    """

    def __init__(self, plan: TowerPlan) -> None:
        self.plan = plan
        self.attention_inputs: AttentionInputs | None = None

    def layer_lengths(self) -> Lengths:
        """Lengths that the layers ran on."""
        raise NotImplementedError

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """The states that the layer with index `index` (from 0) runs on.

        They are `hidden` itself if all tokens are still there.
        """
        raise NotImplementedError

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's other arguments, for the tokens that are left."""
        return arguments

    def bias(self, attention: nn.Module) -> Tensor | None:
        """The bias that the layer's attention adds to its logits; None if there is none."""
        return None

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """States of all tokens after the layer with index `index` (from 0)."""
        raise NotImplementedError

    def whole(self, hidden: Tensor) -> Tensor:
        """Entry states of all tokens, from those recorded after some were left out."""
        return hidden

    def alive(self) -> Tensor:
        """1 where a token is still there, (tiles, tokens) float32, without [CLS]."""
        raise NotImplementedError

    def kept_length(self) -> int:
        """Number of tokens that the layers of a packed tower ran on."""
        raise NotImplementedError

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """A signal of all tokens, (tiles, tokens, c), without [CLS].

        Args:
            layer: the watched layer, as the request names it.
            values: (tiles, tokens left, c), the signal of the tokens that were left at this layer.
        """
        raise NotImplementedError


class TileRun(Run):
    """One call of a tower on tiles side by side, (tiles, tokens, d), with merging.

    Attributes:
        remaining: the tokens that are left; None while all are.
        remaining_at: by index of layer (from 0), the tokens that the layer ran on.
        widths: by layer, number of tokens in each tile.
        shape: (tiles, tokens) of the whole call.
    """

    def __init__(self, plan: TowerPlan) -> None:
        super().__init__(plan)
        self.remaining: Remaining | None = None
        self.remaining_at: dict[int, Remaining | None] = {}
        self.widths: list[int] = []
        self.shape = (0, 0)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """Hidden states of the tokens that are left."""
        if index == 0:
            self.shape, self.device = (hidden.shape[0], hidden.shape[1]), hidden.device
        check_mask(attention_mask_of(arguments))
        self.remaining_at[index], self.dtype = self.remaining, hidden.dtype
        self.attention_inputs = None
        self.widths.append(self.shape[1] if self.remaining is None else self.remaining.seats.shape[1])
        if self.remaining is None:
            return hidden
        self.remaining = self.remaining.to(hidden.device)
        return self.remaining.shorten(hidden)

    def layer_lengths(self) -> Lengths:
        """The same length for each tile, by layer."""
        return [[width] * self.shape[0] for width in self.widths]

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's arguments without a mask, which hides nothing."""
        return without_mask(arguments)

    def bias(self, attention: nn.Module) -> Tensor | None:
        """What weighs or hides each token, (tiles, 1, 1, s); None where nothing does.

        Raises:
            UnsupportedModelError: the attention takes no mask to add it by.
        """
        bias = None if self.remaining is None else self.remaining.bias
        if self.remaining is None or bias is None:
            return None
        backend = attention_backend(attention.config)
        if backend not in ("sdpa", "eager") or not takes_mask(attention):
            raise UnsupportedModelError(
                f"Attention by '{backend}' in this vision tower cannot hide a token from others; "
                "load the model with attn_implementation='sdpa'."
                if self.remaining.absent is not None
                else f"Attention by '{backend}' in this vision tower cannot count a token as often as it is large; use "
                "proportional=False, or load the model with attn_implementation='sdpa'."
            )
        return bias[:, None, None].to(self.dtype)

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Hidden states of all tokens, after the method has merged some."""
        if index + 1 in self.plan.after:
            hidden = self._merge(index + 1, hidden)
        return hidden if self.remaining is None else self.remaining.to(hidden.device).spread(hidden)

    def _merge(self, layer: int, hidden: Tensor) -> Tensor:
        """Hidden states that are left once the method has merged after layer `layer`.

        Raises:
            UnsupportedInputError: the layer's attention was not read.
        """
        if self.attention_inputs is None:
            raise UnsupportedInputError(
                "The vision tower's attention was not seen; load the model with attn_implementation='sdpa'."
            )
        plan, first, (tiles, full) = self.plan, self.plan.first, self.shape
        left = (self.remaining or Remaining.all_tokens(tiles, full, hidden.device)).to(hidden.device)
        patches = full - first
        context = TowerContext(
            layer=layer,
            n_layers=plan.depth,
            patches=patches,
            first=first,
            hidden=hidden,
            attention_inputs=self.attention_inputs,
            size=left.size,
            place=left.seats - first,
            absent=left.absent,
            carried=left.carried,
        )
        self.attention_inputs = None
        with no_autocast(hidden.device):
            merging = plan.method.merge(context)
        if self.remaining is None and merging.changes_nothing:
            return hidden
        self.remaining = left.after(merging)
        changed = hidden if merging.hidden is None else merging.hidden
        return changed[merging.keep].view(tiles, -1, hidden.shape[-1])

    def alive(self) -> Tensor:
        """1 where a token still stands, (tiles, tokens) float32, without [CLS]."""
        if self.remaining is None:
            return torch.ones(self.shape[0], self.shape[1] - self.plan.first, device=self.device, dtype=torch.float32)
        return self.remaining.alive()[:, self.plan.first :]

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """A signal of all tokens; a merged token gets its target token's signal."""
        left, first = self.remaining_at[self.plan.layer(layer)], self.plan.first
        if left is None:
            return values
        head = values.new_zeros(values.shape[0], first, values.shape[2])
        return left.to(values.device).spread(torch.cat([head, values], dim=1))[:, first:]


def tally(calls: Iterable[Lengths]) -> list[list[tuple[int, int]]]:
    """Sequence lengths over all calls of a tower, by layer.

    Returns:
        For each layer (length, number of sequences of that length), ascending.
    """
    layers: list[Counter[int]] = []
    for call in calls:
        layers += [Counter() for _ in range(len(call) - len(layers))]
        for layer, lengths in zip(layers, call, strict=False):
            layer.update(lengths)
    return [sorted(layer.items()) for layer in layers]


def check_mask(mask: Any) -> None:
    """Check that the tower hides none of its tokens from others.

    Raises:
        UnsupportedInputError: the mask hides tokens, as with padded pictures.
    """
    if isinstance(mask, Tensor) and not bool((mask if mask.dtype == torch.bool else mask == 0).all()):
        raise UnsupportedInputError(
            "These pictures are padded, and the vision tower masks their padding, which cannot be merged with them; "
            "pass pictures of one size, or use a method that selects before the LLM."
        )
