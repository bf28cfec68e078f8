"""Facts about model families, one row per `config.model_type`.

A new family is one row here; all other code is the same for every family. Facts about video processors are in
`todre.processing.families`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.errors import UnsupportedModelError
from todre.hf import clip_layouts, visual_layouts
from todre.hf.anyres import anyres
from todre.hf.encoding import Layout
from todre.hf.refused import REFUSED
from todre.hf.versions import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Facts of one family that cannot be read off its models.

    Attributes:
        model_type: `config.model_type`.
        image: the layout by which encoded pictures become visual tokens; None if the family takes no pictures.
        video: the layout by which encoded clips become visual tokens; None if the family takes no clips.
        towers: attribute names of the vision towers in the base model.
        saliency: True if attention in the tower can be followed to visual tokens.
        features: name of the encoded media in the output of `get_image_features`.
        image_token, video_token: names of the config's token ids of visual columns.
        clips_as_pictures: True if the frames of a clip are encoded as pictures.
        stays: name of the model's argument that says which encoded tokens of clips stand in the prompt.
        note: why a checkpoint of a verified family may still be refused, or what was not checked.
    """

    model_type: str
    image: Layout | None = visual_layouts.grid
    video: Layout | None = None
    towers: tuple[str, ...] = ("vision_tower",)
    saliency: bool = True
    features: str = "pooler_output"
    image_token: str = "image_token_id"
    video_token: str = "video_token_id"
    clips_as_pictures: bool = False
    stays: str = ""
    note: str = ""

    @property
    def clips(self) -> bool:
        """True if the family takes clips."""
        return self.video is not None or self.clips_as_pictures

    def layout(self, kind: str) -> Layout | None:
        """The layout of one kind, `image` or `video`; None if the family takes none."""
        return self.image if kind == "image" else self.video

    def token_id(self, config: Any, kind: str) -> int | None:
        """The id that marks the visual columns of one kind of medium, or None."""
        value = getattr(config, self.image_token if kind == "image" else self.video_token, None)
        return None if value is None else int(value)


def _stream(
    model_type: str, tower: str = "visual", saliency: bool = True, video_token: str = "video_token_id", note: str = ""
) -> Family:
    """The row of a family that packs pictures and clips into one sequence (Qwen-VL)."""
    return Family(
        model_type,
        image=visual_layouts.packed_sequence,
        video=visual_layouts.packed_sequence,
        towers=(tower,),
        saliency=saliency,
        video_token=video_token,
        note=note,
    )


def _opaque(model_type: str, clips: bool = False, **facts: Any) -> Family:
    """The row of a family without saliency, since its tokens have no known place.

    A resampler makes such tokens from the tower's.
    """
    return Family(
        model_type, image=visual_layouts.opaque, video=visual_layouts.opaque if clips else None, saliency=False, **facts
    )


_ONE_MARK = "pictures and clips in one batch cannot be told apart by transformers"

_ROWS = (
    _opaque("aria"),
    Family("aya_vision"),
    Family("cohere2_vision"),
    _stream("cohere_compass"),
    _stream("cosmos3_edge"),
    _stream("cosmos3_omni"),
    _opaque("deepseek_ocr2"),
    Family("deepseek_vl", towers=("vision_model",)),
    _opaque("deepseek_vl_hybrid"),
    _stream(
        "dots3_note", tower="vision_tower", note="not with indexed_attention layers, which public checkpoints have"
    ),
    _opaque("emu3"),
    Family(
        "ernie4_5_vl_moe", image=visual_layouts.packed_sequence, video=visual_layouts.packed_sequence, saliency=False
    ),
    _stream("exaone4_5"),
    _opaque("fast_vlm", note="checked with a ResNet in place of the tower from timm"),
    Family("gemma3"),
    _opaque(
        "gemma4",
        clips=True,
        note="not with layers that share keys and values (num_kv_shared_layers > 0)",
    ),
    _opaque("gemma4_unified", clips=True),
    _stream(
        "glm46v",
        video_token="image_token_id",
        note=_ONE_MARK,
    ),
    _stream(
        "glm4v",
        video_token="image_token_id",
        note=_ONE_MARK,
    ),
    _stream(
        "glm4v_moe",
        video_token="image_token_id",
        note=_ONE_MARK,
    ),
    _stream(
        "glm_ocr",
        video_token="image_token_id",
        note=_ONE_MARK,
    ),
    _stream(
        "glmga",
        video_token="image_token_id",
        note=_ONE_MARK,
    ),
    _opaque("got_ocr2"),
    _opaque("granite_docling"),
    _opaque(
        "hunyuan_vl",
        note="transformers numbers pictures through the whole batch, so a row depends on those before it",
    ),
    _stream("hyperclovax_vision_v2", tower="vision_model"),
    _opaque(
        "idefics2",
        note="stage 1 alone where all layers have a window (sliding_window)",
    ),
    Family("idefics3", towers=("vision_model",)),
    Family("internvl", clips_as_pictures=True),
    Family("janus", towers=("vision_model",)),
    _opaque(
        "kimi_k25",
        note="pictures only: transformers cannot encode clips of several frames",
    ),
    _opaque("lfm2_vl"),
    _opaque("lfm3_vl", clips=True),
    Family("lighton_ocr", image=visual_layouts.rasters, towers=("vision_encoder",)),
    _opaque(
        "llama4",
        features="last_hidden_state",
        note="exact up to 8,192 columns, beyond which queries are scaled by their column",
    ),
    Family("llava"),
    Family("llava_next", image=anyres),
    Family("llava_next_video", image=anyres, video=clip_layouts.frames),
    Family("llava_onevision", image=anyres, video=clip_layouts.frames_with_newline),
    _opaque("minicpm_ocr", clips=True),
    _opaque("minicpmv4_6", clips=True),
    _opaque("minicpmv4_7", clips=True),
    _stream(
        "minimax_m3_vl", tower="vision_tower", note="not with minimax_m3_sparse layers, which public checkpoints have"
    ),
    Family("mistral3", image=visual_layouts.rasters),
    _opaque("molmo2", clips=True),
    _opaque("muse_glimmer", clips=True),
    _opaque("muse_spark", clips=True),
    _opaque("ovis2"),
    _opaque("paddleocr_vl"),
    Family("paligemma"),
    _opaque("perception_lm", clips_as_pictures=True),
    _opaque("pp_chart2table"),
    Family("qianfan_ocr"),
    _stream("qwen2_5_omni_thinker", note="audio inside a clip was not checked"),
    _stream("qwen2_5_vl"),
    _stream("qwen2_vl"),
    _stream("qwen3_5"),
    _stream("qwen3_5_moe"),
    _stream("qwen3_omni_moe_thinker", note="audio inside a clip was not checked"),
    _stream("qwen3_vl"),
    _stream("qwen3_vl_moe"),
    Family("shieldgemma2"),
    Family("smolvlm", towers=("vision_model",), clips_as_pictures=True),
    _opaque("step3p7"),
    _opaque("video_llama_3", clips=True, stays="video_compression_mask"),
    Family("video_llava", video=clip_layouts.frames_with_cls, towers=("image_tower", "video_tower")),
    Family("vipllava"),
)

FAMILIES: dict[str, Family] = {family.model_type: family for family in _ROWS}

CLS_FAMILIES = frozenset(
    {"internvl", "llava", "llava_next", "llava_next_video", "qianfan_ocr", "video_llava", "vipllava"}
)
"""Families whose published checkpoints have a tower with a [CLS] token."""


def family_of(model: Any) -> Family:
    """The facts about the family of `model`.

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
