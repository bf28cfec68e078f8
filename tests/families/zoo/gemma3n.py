"""Gemma 3n (four streams of hidden states, per-layer inputs, shared keys and values) and Gemma 4 without a tower."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.gemma4 import IMAGE as UNIFIED_IMAGE
from families.zoo.gemma4 import VIDEO, token_types
from families.zoo.gemma4 import collate as collate_gemma4
from families.zoo.gemma4 import media as gemma4_media
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import VOCAB, Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    Gemma3nAudioConfig,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nTextConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
    ResNetConfig,
)

START, LINES = 5, 20
END, IMAGE, AUDIO = VOCAB, VOCAB + 1, VOCAB + 5
"""As in the checkpoints, ids beyond the text vocabulary have embeddings of their own, first vision, then audio."""
SIDE, GRID = 32, 4


def build_gemma3n(backend: str) -> Gemma3nForConditionalGeneration:
    """The tower of the checkpoints comes from timm; here another convolutional one stands in."""
    torch.manual_seed(0)
    text = Gemma3nTextConfig(
        **text_settings() | {"vocab_size": VOCAB + 8},
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        vocab_size_per_layer_input=VOCAB,
        hidden_size_per_layer_input=12,
        altup_num_inputs=3,
        num_kv_shared_layers=2,
        laurel_rank=8,
        activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
        final_logit_softcapping=3.0,
    )
    audio = Gemma3nAudioConfig(
        vocab_size=4,
        vocab_offset=VOCAB + 4,
        hidden_size=16,
        conf_num_attention_heads=2,
        conf_num_hidden_layers=1,
        sscp_conv_channel_size=(4, 4),
    )
    config = Gemma3nConfig(
        text_config=text,
        audio_config=audio,
        vision_soft_tokens_per_image=GRID**2,
        boi_token_id=START,
        eoi_token_id=END,
        image_token_id=IMAGE,
        audio_token_id=AUDIO,
        initializer_range=0.12,
        attn_implementation={"": backend, "vision_config": "eager", "audio_config": "eager", "text_config": backend},
    )
    config.__dict__["vision_config"] = ResNetConfig(  # the field itself takes no other class
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        hidden_size=32,
        rms_norm_eps=1e-6,
        vocab_size=4,
        vocab_offset=VOCAB,
    )
    model = Gemma3nForConditionalGeneration(config)
    stir(model)
    return finish(model)


def gemma3n_media(model: Any, kind: str, variant: int) -> Media:
    """One size only."""
    pixels = torch.randn(3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor([LINES, START, *[IMAGE] * GRID**2, END, LINES]), {"pixels": pixels})


def gemma3n_collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """Pictures stacked in order."""
    return {"pixel_values": torch.stack([one.inputs["pixels"] for one in media])} if media else {}


def build_unified(backend: str, full: bool = False) -> Gemma4UnifiedForConditionalGeneration:
    """Patches enter the decoder without a tower; pictures attend both ways in the sliding layers."""
    torch.manual_seed(0)
    text = Gemma4UnifiedTextConfig(
        **text_settings(),
        head_dim=8,
        global_head_dim=16,
        sliding_window=8,
        layer_types=["full_attention"] * 4 if full else ["sliding_attention", "full_attention"] * 2,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        final_logit_softcapping=3.0,
    )
    vision = Gemma4UnifiedVisionConfig(
        patch_size=4, pooling_kernel_size=3, mm_embed_dim=32, mm_posemb_size=16, output_proj_dims=32
    )
    config = Gemma4UnifiedConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=UNIFIED_IMAGE,
        video_token_id=VIDEO,
        boi_token_id=5,
        eoi_token_id=6,
        audio_token_id=7,
        attn_implementation=backend,
    )
    model = Gemma4UnifiedForConditionalGeneration(config)
    stir(model)
    torch.nn.init.normal_(model.model.embed_vision.pos_embedding, std=0.5, generator=generator(23))
    for layer in model.model.language_model.layers:
        layer.self_attn.q_norm.weight.data.mul_(0.3)
    return finish(model)


def picture_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 at visual tokens; the model takes it and makes no use of it."""
    return {"token_type_ids": (ids == IMAGE).long()}


SPECIMENS = [
    Specimen("gemma3n", build_gemma3n, gemma3n_media, gemma3n_collate, columns=picture_types),
    *(
        Specimen(
            "gemma4_unified",
            partial(build_unified, full=name == "full"),
            partial(gemma4_media, merged=True),
            partial(collate_gemma4, merged=True),
            columns=token_types,
            video=True,
            variant=name,
        )
        for name in ("", "full")
    ),
]
