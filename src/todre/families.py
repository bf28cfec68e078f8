"""Facts about model families, one row per `config.model_type`; everything else is the same code for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from todre.compat import PreTrainedModel
from todre.errors import UnsupportedModelError


@dataclass(frozen=True)
class Family:
    """What cannot be read off a model of this family.

    Attributes:
        model_type: `config.model_type`.
        packing: how tower tokens become visual tokens: `flat` (one run per picture) or `anyres` (a thumbnail and
            crops put together, unpadded, with a newline token after each row, by the model's `pack_image_features`).
    """

    model_type: str
    packing: str


FAMILIES: dict[str, Family] = {
    family.model_type: family for family in (Family("llava", packing="flat"), Family("llava_next", packing="anyres"))
}

CLS_TOWERS = frozenset({"clip_vision_model"})
"""Vision towers whose token 0 is a [CLS] that was trained to stand for the picture."""


def family_of(model: Any) -> Family:
    """The facts for `model`.

    Raises:
        UnsupportedModelError: not a transformers model, a family that is not listed, or a decoder whose attention
            is not full causal attention with rotary positions.
    """
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"{type(model).__name__} is not a transformers model; pass a vision-language model loaded with "
            "AutoModelForImageTextToText.from_pretrained."
        )
    config = model.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        if not hasattr(config, "vision_config"):
            raise UnsupportedModelError(
                f"A model of type '{config.model_type}' has no visual tokens to prune; "
                f"pass a vision-language model ({', '.join(sorted(FAMILIES))})."
            )
        raise UnsupportedModelError(
            f"Models of type '{config.model_type}' are not supported yet; supported are {', '.join(sorted(FAMILIES))}."
        )
    _check_decoder(model)
    return family


def _check_decoder(model: PreTrainedModel) -> None:
    config = model.config.get_text_config(decoder=True)
    decoder = model.get_decoder()
    if not isinstance(getattr(decoder, "layers", None), nn.ModuleList) or not hasattr(decoder, "rotary_emb"):
        raise UnsupportedModelError(
            f"The decoder {type(decoder).__name__} has no list of layers with rotary positions, which pruning needs; "
            "use a model with a Llama-like decoder (Llama, Vicuna, Mistral)."
        )
    layer_types = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None)
    if any(kind != "full_attention" for kind in layer_types) or (not layer_types and window is not None):
        raise UnsupportedModelError(
            f"The decoder {type(decoder).__name__} uses sliding-window attention (sliding_window={window}), "
            "which is not supported; use a checkpoint with full attention (sliding_window=None)."
        )


def has_cls(model: PreTrainedModel) -> bool:
    """Whether the vision tower has a [CLS] token in place 0."""
    return model.config.vision_config.model_type in CLS_TOWERS
