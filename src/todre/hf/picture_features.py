"""Picture features: compute them, and pass them to a model."""

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
        inputs: the output of the model's image processor for the pictures.
    """
    return media_features(model.get_image_features(**inputs, return_dict=True))


def any_resolution_features(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Visual tokens that a LLaVA-NeXT makes of the first picture, (n, d).

    Args:
        model: a LLaVA-NeXT.
        inputs: the output of the model's image processor.
    """
    found: Tensor = picture_features(model, {name: inputs[name] for name in (PIXELS, SIZES)})[0]
    return found


def encoded_argument(features: Sequence[Tensor]) -> dict[str, Any]:
    """The keyword argument that passes encoded pictures to a model.

    The model then places these features and does not run its vision tower.

    Args:
        features: (n_i, d) visual tokens of each picture.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return {ENCODED: {"image": BaseModelOutputWithPooling(pooler_output=list(features))}}
