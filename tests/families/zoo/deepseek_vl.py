"""DeepSeek-VL with one or two towers, and Janus: one size, one visual token for each patch of a tower without [CLS]."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import siglip_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import (
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    SamVisionConfig,
)

IMAGE, START, END = 3, 4, 5
SIDE, PATCH, HIGH = 20, 4, 32
TOKENS = (SIDE // PATCH) ** 2


def build(backend: str) -> DeepseekVLForConditionalGeneration:
    """The small model: a SigLIP tower."""
    torch.manual_seed(0)
    config = DeepseekVLConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = DeepseekVLForConditionalGeneration(config)
    stir(model)
    return finish(model)


def sam_tower() -> SamVisionConfig:
    """A SAM tower with windows of 2 x 2 patches in all layers but one."""
    return SamVisionConfig(
        hidden_size=24,
        output_channels=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=HIGH,
        patch_size=8,
        window_size=2,
        global_attn_indexes=[1],
        mlp_dim=32,
        num_pos_feats=4,
        initializer_range=0.12,
    )


def build_hybrid(backend: str) -> DeepseekVLHybridForConditionalGeneration:
    """The large model: SigLIP at a low and SAM at a high resolution, side by side in each visual token."""
    torch.manual_seed(0)
    config = DeepseekVLHybridConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        high_res_vision_config=sam_tower(),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = DeepseekVLHybridForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_janus(backend: str) -> JanusForConditionalGeneration:
    """Understanding pictures; the part that draws them is as small as can be."""
    torch.manual_seed(0)
    text = LlamaConfig(**text_settings())
    vision = JanusVisionConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        mlp_ratio=1.5,
        projection_dim=text.hidden_size,
        num_image_tokens=TOKENS,
        initializer_range=0.12,
    )
    drawing = JanusVQVAEConfig(
        embed_dim=8,
        num_embeddings=16,
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
        projection_dim=text.hidden_size,
        image_token_embed_dim=text.hidden_size,
    )
    config = JanusConfig(
        vision_config=vision,
        vq_config=drawing,
        text_config=text,
        image_token_id=IMAGE,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = JanusForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """One size only, and nothing around the visual tokens."""
    random = generator(7, variant)
    pixels = {
        "pixels": torch.randn(3, SIDE, SIDE, generator=random),
        "high": torch.randn(3, HIGH, HIGH, generator=random),
    }
    return Media(kind, torch.full((TOKENS,), IMAGE), pixels)


def media_janus(model: Any, kind: str, variant: int) -> Media:
    """One size only, between a start and an end token."""
    one = media(model, kind, variant)
    return Media(kind, torch.tensor([START, *[IMAGE] * TOKENS, END]), one.inputs)


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures stacked in order."""
    return {"pixel_values": torch.stack([one.inputs["pixels"] for one in media])} if media else {}


def collate_hybrid(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures stacked in order, at both resolutions."""
    if not media:
        return {}
    return {**collate(model, media), "high_res_pixel_values": torch.stack([one.inputs["high"] for one in media])}


SPECIMENS = [
    Specimen("deepseek_vl", build, media, collate),
    Specimen("deepseek_vl_hybrid", build_hybrid, media, collate_hybrid),
    Specimen("janus", build_janus, media_janus, collate),
]
