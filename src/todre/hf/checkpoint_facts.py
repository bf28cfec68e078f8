"""Facts about a checkpoint, read from its configuration.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

from typing import Any

FEATURE_LAYER = "vision_feature_layer"
"""Name of the setting that `feature_layers` reads in the LLaVA family."""


def layer_kinds(text_config: Any) -> frozenset[str]:
    """Kinds of attention among the decoder's layers.

    Empty where the configuration names none.
    """
    return frozenset(getattr(text_config, "layer_types", None) or ())


def feature_layers(config: Any) -> list[int]:
    """Indices of the tower's layers whose output the projector reads.

    Negative indices count from the last layer, which is read if the config names none. VipLlava reads several layers
    and calls them `vision_feature_layers` (transformers 5.18 to 5.24).
    """
    named = getattr(config, "vision_feature_layers", None)
    layers: int | list[int] = getattr(config, FEATURE_LAYER, -1) if named is None else named
    return [layers] if isinstance(layers, int) else list(layers)


def feature_depth(config: Any, layers: int) -> int:
    """Number of tower layers that run before features are taken.

    If features of several layers are read, the last of these layers counts.

    Args:
        config: the model's config.
        layers: number of layers in the tower.
    """
    return max(layer if layer >= 0 else layers + 1 + layer for layer in feature_layers(config))
