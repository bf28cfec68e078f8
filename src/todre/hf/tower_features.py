"""Runs of a CLIP-like vision tower by itself, for training and fitting."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run_tower(tower: Any, pixels: Tensor) -> Any:
    """The tower's output, with the hidden states of all layers.

    Args:
        tower: the vision tower.
        pixels: (tiles, 3, height, width).
    """
    return tower(pixel_values=pixels, output_hidden_states=True)


def layer_output(output: Any, index: int) -> Tensor:
    """Hidden states at `index`, (tiles, tokens, width): 0 is the embedding, 1 layer 1."""
    states: Tensor = output.hidden_states[index]
    return states


def pooled_token(output: Any) -> Tensor:
    """The class token after the tower's last norm, (tiles, width)."""
    pooled: Tensor = output.pooler_output
    return pooled
