"""Facts about model families, one row per `config.model_type`; everything else is the same code for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre import layouts
from todre.compat import PreTrainedModel
from todre.errors import UnsupportedModelError
from todre.layouts import Layout
from todre.refused import REFUSED


@dataclass(frozen=True)
class Family:
    """What cannot be read off a model of this family.

    Attributes:
        model_type: `config.model_type`.
        image: how encoded pictures become visual tokens; None if the family takes none.
        video: likewise for clips.
        towers: names of the vision towers within the base model.
        saliency: whether attention in the tower can be followed to visual tokens.
        features: name of the encoded media in what `get_image_features` returns.
        image_token, video_token: names of the config's ids of visual columns.
    """

    model_type: str
    image: Layout | None = layouts.grid
    video: Layout | None = None
    towers: tuple[str, ...] = ("vision_tower",)
    saliency: bool = True
    features: str = "pooler_output"
    image_token: str = "image_token_id"
    video_token: str = "video_token_id"

    def layout(self, kind: str) -> Layout | None:
        """The layout of a kind of medium."""
        return self.image if kind == "image" else self.video

    def token_id(self, config: Any, kind: str) -> int | None:
        """The id that marks the visual columns of a kind of medium."""
        value = getattr(config, self.image_token if kind == "image" else self.video_token, None)
        return None if value is None else int(value)


_ROWS = (
    Family("llava"),
    Family("llava_next", image=layouts.anyres),
    Family("llava_next_video", image=layouts.anyres, video=layouts.frames),
    Family("llava_onevision", image=layouts.anyres, video=layouts.frames_with_newline),
    Family("vipllava"),
    Family("qwen2_vl", image=layouts.merged, video=layouts.merged, towers=("visual",)),
    Family("qwen2_5_vl", image=layouts.merged, video=layouts.merged, towers=("visual",)),
    Family("qwen3_vl", image=layouts.merged, video=layouts.merged, towers=("visual",)),
    Family("internvl"),
    Family("smolvlm", towers=("vision_model",)),
    Family("idefics3", towers=("vision_model",)),
)

FAMILIES: dict[str, Family] = {family.model_type: family for family in _ROWS}

CLS_TOWERS = frozenset({"clip_vision_model", "internvl_vision"})
"""Vision towers whose token 0 is a [CLS] that was trained to stand for the picture."""


def family_of(model: Any) -> Family:
    """The facts for `model`.

    Raises:
        UnsupportedModelError: not a transformers model, or a family that is refused or not listed.
    """
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"{type(model).__name__} is not a transformers model; pass a vision-language model loaded with "
            "AutoModelForImageTextToText.from_pretrained."
        )
    model_type = model.config.model_type
    family = FAMILIES.get(model_type)
    if family is not None:
        return family
    if model_type in REFUSED:
        raise UnsupportedModelError(f"Models of type '{model_type}' cannot be pruned: {REFUSED[model_type]}.")
    if not hasattr(model.config, "vision_config"):
        raise UnsupportedModelError(
            f"A model of type '{model_type}' has no visual tokens to prune; "
            "pass a vision-language model that `todre models` lists as verified."
        )
    raise UnsupportedModelError(
        f"Models of type '{model_type}' are not known; `todre models` lists those that are, "
        "and docs/families.md says how one is added."
    )


def has_cls(model: PreTrainedModel, family: Family | None = None) -> bool:
    """Whether the vision tower has a [CLS] token in place 0."""
    vision = getattr(model.config, "vision_config", None)
    return getattr(vision, "model_type", None) in CLS_TOWERS
