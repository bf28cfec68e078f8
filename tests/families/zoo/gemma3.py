"""Gemma 3 and PaliGemma: pictures attend to themselves both ways, over sliding and full layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import siglip_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    ShieldGemma2Config,
)

IMAGE, START, END, LINES, SIDE, PATCH, SOFT = 3, 4, 5, 20, 24, 4, 9
LAYERS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]


def build_gemma3(backend: str, full: bool = False, kind: type[Any] = Gemma3Config) -> Gemma3ForConditionalGeneration:
    """A window of 8 tokens, shorter than a picture's 9; two rotary bases; pooling 2 x 2."""
    torch.manual_seed(0)
    text = Gemma3TextConfig(
        **text_settings(),
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=8,
        layer_types=["full_attention"] * 4 if full else LAYERS,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        },
    )
    config = kind(
        text_config=text,
        vision_config=siglip_tower(SIDE, PATCH),
        mm_tokens_per_image=SOFT,
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        initializer_range=0.12,
        attn_implementation=backend,
    )
    model = Gemma3ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_paligemma(backend: str, second: bool = False) -> PaliGemmaForConditionalGeneration:
    """PaliGemma (one key-value head, full attention) or PaliGemma 2 (sliding layers, soft-capped attention and logits).

    Gemma 2 has no SDPA: it is eager under any backend.
    """
    torch.manual_seed(0)
    settings = text_settings() | {"head_dim": 16}
    attention: Any = {"": backend, "vision_config": backend, "text_config": "eager"} if second else backend
    if second:
        window = {"sliding_window": 8, "query_pre_attn_scalar": 16, "layer_types": LAYERS}
        text: Any = Gemma2Config(**settings, **window, attn_logit_softcapping=5.0, final_logit_softcapping=3.0)
    else:
        text = GemmaConfig(**settings | {"num_key_value_heads": 1})
    config = PaliGemmaConfig(
        text_config=text,
        vision_config=siglip_tower(SIDE, PATCH),
        projection_dim=settings["hidden_size"],
        image_token_id=IMAGE,
        attn_implementation=attention,
    )
    model = PaliGemmaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """One size only. The second and third picture of Gemma 3 are shown as a whole and as one and two crops."""
    crops = variant + 1 if model.config.model_type != "paligemma" else 1
    pixels = torch.randn(crops, 3, SIDE, SIDE, generator=generator(7, variant))
    if model.config.model_type == "paligemma":
        return Media(kind, torch.full(((SIDE // PATCH) ** 2,), IMAGE), {"pixels": pixels})
    block = [LINES, START, *[IMAGE] * SOFT, END, LINES]
    return Media(kind, torch.tensor(block * crops), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """All pictures and crops in one row."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


def picture_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 at visual tokens."""
    return {"token_type_ids": (ids == IMAGE).long()}


def prefix_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """0 for the prompt, in which every token sees all of it; 1 would be a suffix to train on."""
    return {"token_type_ids": torch.zeros_like(ids)}


SPECIMENS = [
    Specimen("gemma3", build_gemma3, media, collate, columns=picture_types),
    Specimen("gemma3", partial(build_gemma3, full=True), media, collate, columns=picture_types, variant="full"),
    Specimen("shieldgemma2", partial(build_gemma3, kind=ShieldGemma2Config), media, collate, columns=picture_types),
    Specimen("paligemma", build_paligemma, media, collate, columns=prefix_types),
    Specimen(
        "paligemma", partial(build_paligemma, second=True), media, collate, columns=prefix_types, variant="gemma2"
    ),
]
