"""Kimi K2.5: a tower with learned and rotary positions, and a decoder that caches compressed keys and values.

Pictures only: clips of more than one frame fail in transformers 5.23 (features are split by more than there are).
"""

from __future__ import annotations

from typing import Any

from families.zoo.llava import text_settings
from families.zoo.qwen_vl import END, GRIDS, IMAGE, MERGE, PATCH, START, VIDEO, build, collate, patches, wrapped
from families.zoo.specimen import Media, Specimen
from transformers import Kimi_K25Config, Kimi_K25ForConditionalGeneration


def latent_text(**more: Any) -> dict[str, Any]:
    """DeepSeek V3: six heads of 4 + 4 dimensions from latents of 16, a dense layer, then grouped experts."""
    return {
        **text_settings(),
        "num_key_value_heads": 6,
        "moe_intermediate_size": 24,
        "n_routed_experts": 8,
        "n_group": 2,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.5,
        "q_lora_rank": 20,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 4,
        "v_head_dim": 6,
        **more,
    }


def config() -> Kimi_K25Config:
    """A learned grid of 6 × 6 positions for up to four frames."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "pos_emb_height": 6,
        "pos_emb_width": 6,
        "merge_kernel_size": (MERGE, MERGE),
        "initializer_range": 0.12,
    }
    return Kimi_K25Config(
        text_config={"model_type": "deepseek_v3", **latent_text()},
        vision_config=vision,
        projection_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=False,
    )


def media(model: Any, kind: str, variant: int) -> Media:
    """Patches are small pictures, row by row."""
    grid = GRIDS[kind][variant]
    pixels = patches(kind, variant, grid, frames=1).reshape(-1, 3, PATCH, PATCH)
    return Media(kind, wrapped(kind, grid), {"pixels": pixels, "grid": grid})


SPECIMENS = [Specimen("kimi_k25", build(config, Kimi_K25ForConditionalGeneration), media, collate)]
