"""Run a CLIP-like vision tower by itself and read its output, for training and fitting."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run_tower(tower: Any, pixels: Tensor) -> Any:
    """The tower's output for (tiles, 3, height, width) pixels, with the hidden states of all layers."""
    return tower(pixel_values=pixels, output_hidden_states=True)


def layer_output(output: Any, index: int) -> Tensor:
    """(tiles, tokens, width) hidden states at `index` among the embedding's (0) and each layer's after it."""
    states: Tensor = output.hidden_states[index]
    return states


def pooled_token(output: Any) -> Tensor:
    """(tiles, width) the class token after the tower's last norm."""
    pooled: Tensor = output.pooler_output
    return pooled
