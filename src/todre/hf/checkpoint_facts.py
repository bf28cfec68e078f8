"""What configurations say of a checkpoint, by functions; nothing here imports torch or transformers."""

from __future__ import annotations

from typing import Any

FEATURE_LAYER = "vision_feature_layer"
"""The LLaVA family's name for the tower layer, or layers, whose output the projector reads."""


def layer_kinds(text_config: Any) -> frozenset[str]:
    """Kinds of attention among the decoder's layers; empty where the configuration names none."""
    return frozenset(getattr(text_config, "layer_types", None) or ())


def feature_layer(config: Any) -> int | list[int]:
    """Tower layer, or layers, whose output the projector reads; negative ones count from the last layer.

    VipLlava reads several layers and calls them `vision_feature_layers` (transformers 5.18 to 5.24).
    """
    layers: int | list[int] = getattr(config, "vision_feature_layers", None) or config.vision_feature_layer
    return layers
