"""InternVL and Qianfan-OCR: square tiles, the thumbnail last, pixel shuffle after the tower; frames are tiles."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlamaConfig,
    PreTrainedConfig,
    QianfanOCRConfig,
    QianfanOCRForConditionalGeneration,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

IMAGE, START, END = 3, 4, 5
SIDE, PATCH, TOKENS = 36, 6, 9
TILES, FRAMES = (1, 3, 5), (2, 3, 4)


def tower(big: bool) -> dict[str, Any]:
    """The 300M tower, or the 6B one with its QK norm and RMS norm."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": (SIDE, SIDE),
        "patch_size": (PATCH, PATCH),
        "attention_bias": not big,
        "use_qk_norm": big,
        "norm_type": "rms_norm" if big else "layer_norm",
        "layer_scale_init_value": 0.7,
        "initializer_range": 0.12,
    }


def text(decoder: str) -> PreTrainedConfig:
    """One of the decoders of the public checkpoints: 2 and 2.5 (Llama), 3 (Qwen2), 3.5 (Qwen3, dense or mixed)."""
    base = text_settings()
    if decoder == "qwen3_moe":
        return Qwen3MoeConfig(**base, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=40)
    if decoder == "qwen3":
        return Qwen3Config(**base, head_dim=8)
    return {"llama": LlamaConfig, "qwen2": Qwen2Config}[decoder](**base)


def build(decoder: str, backend: str) -> InternVLForConditionalGeneration:
    """The same weights for every backend."""
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config=tower(big=decoder == "llama"),
        text_config=text(decoder),
        image_token_id=IMAGE,
        image_seq_length=TOKENS,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = InternVLForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_qianfan(backend: str) -> QianfanOCRForConditionalGeneration:
    """InternVL's tower and a Qwen3 decoder; the same weights for every backend."""
    torch.manual_seed(0)
    config = QianfanOCRConfig(
        vision_config=tower(big=False),
        text_config=text("qwen3"),
        image_token_id=IMAGE,
        image_seq_length=TOKENS,
        attn_implementation=backend,
    )
    model = QianfanOCRForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture of 1, 2 + 1 or 4 + 1 tiles between one start and one end token; of a clip, each frame has its own."""
    tiles = TILES[variant] if kind == "image" else FRAMES[variant]
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant, kind == "video"))
    if kind == "image":
        ids = [START, *[IMAGE] * (tiles * TOKENS), END]
    else:
        ids = [
            token
            for frame in range(tiles)
            for token in (FIRST_WORD + frame, FIRST_WORD + 30, START, *[IMAGE] * TOKENS, END)
        ]
    return Media(kind, torch.tensor(ids), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """All tiles of all pictures and clips, in the order in which they stand."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [
    Specimen("internvl", partial(build, decoder), media, collate, video=True, variant=decoder)
    for decoder in ("qwen2", "llama", "qwen3", "qwen3_moe")
]
SPECIMENS.append(Specimen("qianfan_ocr", build_qianfan, media, collate))
