"""Models with random weights, built right on their device and in their dtype."""

from __future__ import annotations

from typing import Any

import torch

from todre.bench.presets import Preset
from todre.errors import InvalidValueError
from todre.hub import first_line
from todre.loading.memory_needs import check_fits, configured_weights


def build(preset: Preset, device: torch.device, dtype: torch.dtype, backend: str | None = None, seed: int = 0) -> Any:
    """Build a preset's model in evaluation mode; equal arguments give equal weights.

    Weights are drawn on the device and in the dtype, so that a model of 7B parameters takes 14 GB in bfloat16.

    Args:
        preset: the model's shape.
        device: the model's device; `meta` makes a model without weights.
        dtype: dtype of all weights.
        backend: attention implementation; None leaves the choice to transformers.
        seed: seed of the weights.

    Raises:
        InvalidValueError: the attention implementation cannot be used.
        LoadError: the device has less memory left than the weights take; nothing was made.
    """
    from transformers import AutoModelForImageTextToText

    config = preset.make_config()
    if device.type != "meta":
        check_fits(preset.name, configured_weights(preset.name, config), dtype, device, staged=False)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.device(device):
            torch.manual_seed(seed)
            model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=backend)
    except (ImportError, ValueError) as error:
        raise InvalidValueError(
            f"attention implementation {backend!r} cannot be used with {preset.name} ({first_line(error)}); "
            "use sdpa or eager."
        ) from error
    return model.eval()


def parameters(preset: Preset) -> int:
    """Number of weights of the preset, counted without making them."""
    return configured_weights(preset.name, preset.make_config()).floats
