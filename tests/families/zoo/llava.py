"""LLaVA-1.5: a CLIP tower at one size, one visual token for each patch."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.specimen import BOS, EOS, PAD, VOCAB, Media, Specimen, finish, generator
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE, SIDE, PATCH = 3, 24, 6


def clip_tower(side: int = SIDE, patch: int = PATCH) -> CLIPVisionConfig:
    """A tower of three layers with a [CLS] token."""
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=side,
        patch_size=patch,
        initializer_range=0.12,
    )


def text_settings(layers: int = 4) -> dict[str, Any]:
    """Settings that every Llama-like decoder takes."""
    return {
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "max_position_embeddings": 2048,
        "initializer_range": 0.12,
    }


def build(backend: str) -> LlavaForConditionalGeneration:
    """The same weights for every backend."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=clip_tower(),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    return finish(LlavaForConditionalGeneration(config))


def media(model: Any, kind: str, variant: int) -> Media:
    """One size only."""
    pixels = torch.randn(3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.full(((SIDE // PATCH) ** 2,), IMAGE), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures stacked in order."""
    return {"pixel_values": torch.stack([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [Specimen("llava", build, media, collate)]
