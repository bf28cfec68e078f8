"""MiniMax M3: a tower that sees a whole clip with positions in time, height and width, and experts."""

from __future__ import annotations

from collections.abc import Callable

from families.zoo.llava import text_settings
from families.zoo.qwen_vl import FRAMES, IMAGE, MERGE, PATCH, VIDEO, build, collate, grid_media, stamped
from families.zoo.specimen import Specimen
from transformers import MiniMaxM3SparseForConditionalGeneration, MiniMaxM3VLConfig


def config(layer_types: list[str]) -> Callable[[], MiniMaxM3VLConfig]:
    """A dense layer first; half of each head's 8 dimensions are rotated."""
    settings = {
        **text_settings(),
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rotary_dim": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        "intermediate_size": 24,
        "dense_intermediate_size": 40,
        "shared_intermediate_size": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "layer_types": layer_types,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_block_size": 4,
        "index_topk_blocks": 3,
    }
    vision = {
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "spatial_merge_size": MERGE,
        "image_size": 24,
        "initializer_range": 0.12,
    }
    return lambda: MiniMaxM3VLConfig(
        text_config=settings,
        vision_config=vision,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        projector_hidden_size=40,
    )


SPECIMENS = [
    Specimen(
        "minimax_m3_vl",
        build(config(["full_attention"] * 4), MiniMaxM3SparseForConditionalGeneration),
        grid_media(stamped),
        collate,
        video=True,
        variant="full",
    ),
]
