"""Qwen3.5: layers of linear attention (a convolution and a recurrent state) between layers of gated full attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from families.zoo.parts import remember
from families.zoo.qwen_vl import IDS, build, moe, mrope, specimen, text, tower
from transformers import (
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
)

MIXED = ["linear_attention", "full_attention", "linear_attention", "full_attention"]
FULL = ["full_attention"] * 4


def hybrid_text(layer_types: list[str], **more: Any) -> dict[str, Any]:
    """Full layers rotate half of 16 dimensions; linear ones have two heads of keys for four of values."""
    return text(
        head_dim=16,
        rope_parameters=mrope(mrope_interleaved=True, partial_rotary_factor=0.5),
        layer_types=layer_types,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        **more,
    )


def vision() -> dict[str, Any]:
    """Qwen3's tower without deepstack."""
    return tower(num_position_embeddings=36)


def dense(layer_types: list[str]) -> Callable[[], Qwen3_5Config]:
    """Configuration with the given layers."""
    return lambda: Qwen3_5Config(text_config=hybrid_text(layer_types), vision_config=vision(), **IDS)


def sparse(layer_types: list[str]) -> Callable[[], Qwen3_5MoeConfig]:
    """With experts, one of them shared."""
    more = moe(shared_expert_intermediate_size=24)
    return lambda: Qwen3_5MoeConfig(text_config=hybrid_text(layer_types, **more), vision_config=vision(), **IDS)


def lasting(make: Callable[[str], Any]) -> Callable[[str], Any]:
    """Models whose linear attention remembers."""

    def remembering(backend: str) -> Any:
        model = make(backend)
        remember(model)
        return model

    return remembering


SPECIMENS = [
    specimen("qwen3_5", lasting(build(dense(MIXED), Qwen3_5ForConditionalGeneration))),
    specimen("qwen3_5", build(dense(FULL), Qwen3_5ForConditionalGeneration), variant="full"),
    specimen("qwen3_5_moe", lasting(build(sparse(MIXED), Qwen3_5MoeForConditionalGeneration))),
    specimen("qwen3_5_moe", build(sparse(FULL), Qwen3_5MoeForConditionalGeneration), variant="full"),
]
