"""Run a CLIP-like vision tower by itself and read its output."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run_tower(tower: Any, pixels: Tensor) -> Any:
    """The tower's output, with the hidden states of all layers.

    Args:
        tower: a CLIP-like vision tower.
        pixels: (tiles, 3, height, width).
    """
    return tower(pixel_values=pixels, output_hidden_states=True)


def layer_output(output: Any, index: int) -> Tensor:
    """Hidden states after one layer, (tiles, tokens, width).

    Args:
        output: the output of `run_tower`.
        index: 0 is the embedding's output, 1 the first layer's; negative numbers count from the last layer.
    """
    states: Tensor = output.hidden_states[index]
    return states


def pooled_token(output: Any) -> Tensor:
    """The class token after the tower's last norm, (tiles, width)."""
    pooled: Tensor = output.pooler_output
    return pooled
