"""Features of pictures: from a model, into a model, and their layer in the tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from todre.hf.keywords import ENCODED, PIXELS, SIZES
from todre.hf.model_parts import media_features


def picture_features(model: Any, inputs: Mapping[str, Tensor]) -> Any:
    """Each picture's visual tokens in the LLM's space, (n, d) each.

    Args:
        model: a model whose `get_image_features` takes `inputs`.
        inputs: what its image processor returns for the pictures.
    """
    return media_features(model.get_image_features(**inputs, return_dict=True))


def any_resolution_features(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """(n, d) visual tokens of the first picture of a LLaVA-NeXT.

    Args:
        model: a LLaVA-NeXT.
        inputs: what its image processor returns.
    """
    found: Tensor = picture_features(model, {name: inputs[name] for name in (PIXELS, SIZES)})[0]
    return found


def encoded_argument(features: Sequence[Tensor]) -> dict[str, Any]:
    """Keyword argument that hands encoded pictures to a model, (n_i, d) each.

    The model then places these features and does not run its vision tower.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return {ENCODED: {"image": BaseModelOutputWithPooling(pooler_output=list(features))}}


def feature_layer(config: Any) -> int:
    """Index of the tower's hidden states that become features; -1 is the last."""
    return int(config.vision_feature_layer)
