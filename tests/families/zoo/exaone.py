"""EXAONE 4.5 and HyperCLOVA X: Qwen2.5's tower with windows, and decoders with one-dimensional positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from families.zoo.llava import text_settings
from families.zoo.qwen_vl import IMAGE, MERGE, PATCH, VIDEO, build, collate, grid_media, tower, wrapped
from families.zoo.specimen import Specimen
from transformers import (
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    HyperCLOVAXVisionV2Config,
    HyperCLOVAXVisionV2ForConditionalGeneration,
)

WINDOW = 8


def window_tower(**more: Any) -> dict[str, Any]:
    """Windows of 2 × 2 merged patches in all blocks but the last."""
    return tower(window_size=2 * MERGE * PATCH, fullatt_block_indexes=[2], **more)


def exaone(full: bool) -> Callable[[], Exaone4_5_Config]:
    """Sliding layers rotate, full ones do not; without sliding layers, all rotate."""
    pattern: dict[str, Any] = {"sliding_window": WINDOW, "sliding_window_pattern": 2}
    settings = {"sliding_window": None, "layer_types": ["full_attention"] * 4} if full else pattern
    return lambda: Exaone4_5_Config(
        text_config={"model_type": "exaone4", **text_settings(), "head_dim": 8, **settings},
        vision_config=window_tower(num_key_value_heads=2),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def hyperclovax() -> HyperCLOVAXVisionV2Config:
    """Embeddings, attention, residuals and logits are scaled, and norms stand after each part too."""
    scales = {
        "embedding_multiplier": 1.5,
        "attention_multiplier": 0.4,
        "residual_multiplier": 0.8,
        "logits_scaling": 0.7,
        "use_post_norm": True,
    }
    return HyperCLOVAXVisionV2Config(
        text_config={"model_type": "hyperclovax", **text_settings(), "head_dim": 8, **scales},
        vision_config={"model_type": "qwen2_5_vl_vision", **window_tower()},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        tie_word_embeddings=False,
    )


def specimen(model_type: str, config: Callable[[], Any], model_class: Any, variant: str = "") -> Specimen:
    """A specimen for pictures and clips."""
    return Specimen(model_type, build(config, model_class), grid_media(wrapped), collate, video=True, variant=variant)


SPECIMENS = [
    specimen("exaone4_5", exaone(full=False), Exaone4_5_ForConditionalGeneration),
    specimen("exaone4_5", exaone(full=True), Exaone4_5_ForConditionalGeneration, variant="full"),
    specimen("hyperclovax_vision_v2", hyperclovax, HyperCLOVAXVisionV2ForConditionalGeneration),
]
