"""Presets: models of published shapes, and small ones, for random weights.

Nothing is downloaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from todre.errors import InvalidValueError

CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
SIGLIP_SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}


@dataclass(frozen=True)
class Preset:
    """A model's sizes, and the picture that its prompts hold.

    Attributes:
        name: the preset's name on the command line.
        config: every field that differs from transformers' defaults, `model_type` included.
        picture: (height, width) in pixels of the prompt's picture, as the model resizes a large square picture: 2×2
            crops and a thumbnail for AnyRes, four tiles and a thumbnail for InternVL.
        aliases: hub ids of checkpoints of this shape.
    """

    name: str
    config: Mapping[str, Any]
    picture: tuple[int, int]
    aliases: tuple[str, ...] = ()

    def make_config(self) -> Any:
        """The configuration in transformers."""
        from transformers import AutoConfig

        values = {key: dict(value) if isinstance(value, Mapping) else value for key, value in self.config.items()}
        return AutoConfig.for_model(values.pop("model_type"), **values)


def _text(model_type: str, width: int, ffn: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> Any:
    return {
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocab,
        "max_position_embeddings": 32768,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        **more,
    }


def _vicuna(large: bool) -> Any:
    sizes = (5120, 13824, 40, 40, 40) if large else (4096, 11008, 32, 32, 32)
    return _text("llama", *sizes, 32064, rms_norm_eps=1e-5)


def _pinpoints(side: int, most: int = 2) -> list[list[int]]:
    """Canvases of up to `most` tiles per side, each (height, width) in pixels."""
    return [[rows * side, columns * side] for rows in range(1, most + 1) for columns in range(1, most + 1)]


def _llava(name: str, large: bool, alias: str) -> Preset:
    config = {"model_type": "llava", "vision_config": CLIP_L, "text_config": _vicuna(large), "image_token_id": 32000}
    return Preset(name, config, (336, 336), (alias,))


def _next(name: str, large: bool, alias: str) -> Preset:
    config = {
        "model_type": "llava_next",
        "vision_config": CLIP_L,
        "text_config": _vicuna(large),
        "image_token_id": 32000,
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    }
    return Preset(name, config, (672, 672), (alias,))


_QWEN_IDS = {"vision_start_token_id": 4, "vision_end_token_id": 5, "image_token_id": 6, "video_token_id": 7}


def _qwen(vision: dict[str, Any], text: Any, section: list[int]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section}
    return {
        "model_type": "qwen2_5_vl",
        "vision_config": {"patch_size": 14, "window_size": 112, **vision},
        "text_config": {**text, "rope_parameters": rope},
        "tie_word_embeddings": False,
        **_QWEN_IDS,
    }


_PRESETS = (
    _llava("llava-1.5-7b", False, "llava-hf/llava-1.5-7b-hf"),
    _llava("llava-1.5-13b", True, "llava-hf/llava-1.5-13b-hf"),
    _next("llava-next-7b", False, "llava-hf/llava-v1.6-vicuna-7b-hf"),
    _next("llava-next-13b", True, "llava-hf/llava-v1.6-vicuna-13b-hf"),
    Preset(
        "onevision-7b",
        {
            "model_type": "llava_onevision",
            "vision_config": SIGLIP_SO400M,
            "text_config": _text("qwen2", 3584, 18944, 28, 28, 4, 152064),
            "image_token_id": 151646,
            "video_token_id": 151647,
            "image_grid_pinpoints": _pinpoints(384, 6),
        },
        (768, 768),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf",),
    ),
    Preset(
        "qwen2.5-vl-7b",
        _qwen(
            {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
             "fullatt_block_indexes": [7, 15, 23, 31]},
            _text("qwen2_5_vl_text", 3584, 18944, 28, 28, 4, 152064),
            [16, 24, 24],
        ),
        (1008, 1008),
        ("Qwen/Qwen2.5-VL-7B-Instruct",),
    ),
    Preset(
        "internvl2-8b",
        {
            "model_type": "internvl",
            "vision_config": {"model_type": "internvl_vision", "hidden_size": 1024, "intermediate_size": 4096,
                              "num_hidden_layers": 24, "num_attention_heads": 16, "attention_bias": True},
            "text_config": _text("llama", 4096, 14336, 32, 32, 8, 92553),
            "image_token_id": 92546,
            "tie_word_embeddings": False,
        },
        (896, 896),
        ("OpenGVLab/InternVL2-8B",),
    ),
    Preset(
        "llava-next-260m",
        {
            "model_type": "llava_next",
            "vision_config": {**CLIP_L, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
                              "num_attention_heads": 8},
            "text_config": _text("llama", 1024, 2816, 16, 16, 16, 8192),
            "image_token_id": 8000,
            "image_grid_pinpoints": _pinpoints(336),
        },
        (672, 672),
    ),
    Preset(
        "llava-next-120m",
        {
            "model_type": "llava_next",
            "vision_config": {**CLIP_L, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 4,
                              "num_attention_heads": 6},
            "text_config": _text("llama", 768, 2048, 14, 12, 12, 8192),
            "image_token_id": 8000,
            "image_grid_pinpoints": _pinpoints(336),
        },
        (336, 672),
    ),
    Preset(
        "qwen2.5-vl-small",
        _qwen(
            {"depth": 8, "hidden_size": 256, "intermediate_size": 684, "num_heads": 8, "out_hidden_size": 512,
             "fullatt_block_indexes": [3, 7]},
            _text("qwen2_5_vl_text", 512, 1408, 12, 8, 2, 8192),
            [8, 12, 12],
        ),
        (672, 672),
    ),
    Preset(
        "tiny",
        {
            "model_type": "llava_next",
            "vision_config": {**CLIP_L, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
                              "num_attention_heads": 4, "image_size": 84},
            "text_config": _text("llama", 64, 128, 8, 4, 2, 256),
            "image_token_id": 250,
            "image_grid_pinpoints": _pinpoints(84),
        },
        (168, 168),
    ),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}


def preset(name: str) -> Preset:
    """The preset called `name`, or with the shape of the hub checkpoint `name`.

    Raises:
        InvalidValueError: there is no such preset; the message says what was probably meant.
    """
    known = PRESETS | {alias: each for each in _PRESETS for alias in each.aliases}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InvalidValueError(f"There is no preset {name!r}; {hint}the presets are {', '.join(PRESETS)}.")
