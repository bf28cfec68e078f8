"""Cosmos 3: Qwen3-VL under another name, and Edge, with a tower like SigLIP 2's and frames of its own in clips."""

from __future__ import annotations

from typing import Any

from families.zoo.qwen_vl import (
    GRIDS,
    IDS,
    PATCH,
    build,
    collate,
    deep_tower,
    mrope,
    patches,
    qwen3_text,
    specimen,
    stamped,
    text,
    token_types,
)
from families.zoo.specimen import Media, Specimen
from transformers import (
    Cosmos3EdgeConfig,
    Cosmos3EdgeForConditionalGeneration,
    Cosmos3OmniConfig,
    Cosmos3OmniForConditionalGeneration,
)


def omni_config() -> Cosmos3OmniConfig:
    """Deepstack."""
    return Cosmos3OmniConfig(
        text_config={"model_type": "qwen3_vl_text", **qwen3_text()},
        vision_config={"model_type": "qwen3_vl_vision", **deep_tower()},
        **IDS,
    )


def edge_config() -> Cosmos3EdgeConfig:
    """A learned grid of 6 × 6 positions; patches are one frame deep and merged after the tower."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "num_patches": 36,
        "initializer_range": 0.12,
    }
    return Cosmos3EdgeConfig(
        text_config=text(head_dim=8, rope_parameters=mrope()), vision_config=vision, projector_hidden_size=40, **IDS
    )


def edge_media(model: Any, kind: str, variant: int) -> Media:
    """Patches of one frame."""
    grid = GRIDS[kind][variant]
    return Media(kind, stamped(kind, grid), {"pixels": patches(kind, variant, grid, frames=1), "grid": grid})


SPECIMENS = [
    specimen("cosmos3_omni", build(omni_config, Cosmos3OmniForConditionalGeneration)),
    Specimen(
        "cosmos3_edge",
        build(edge_config, Cosmos3EdgeForConditionalGeneration),
        edge_media,
        collate,
        columns=token_types,
        video=True,
    ),
]
