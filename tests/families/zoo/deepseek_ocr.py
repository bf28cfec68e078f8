"""DeepSeek-OCR 2 (learned queries stand for a picture) and Unlimited-OCR (the prompt stays, answers slide)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import features, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import nn
from transformers import (
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    UnlimitedOcrConfig,
    UnlimitedOcrForConditionalGeneration,
)

IMAGE = 3
SIDE, CROP_SIDE, PATCH = 64, 48, 4
GRIDS = [(2, 1), (0, 0), (2, 2)]
"""Columns and rows of crops; a picture without crops is shown once."""
SAM: dict[str, Any] = {
    "hidden_size": 32,
    "output_channels": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 5,
    "global_attn_indexes": [1],
    "mlp_dim": 48,
    "downsample_channels": [28, 32],
    "initializer_range": 0.12,
}
EXPERTS: dict[str, Any] = {
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}


def build_deepseek(backend: str) -> DeepseekOcr2ForConditionalGeneration:
    """The checkpoints' 144 queries for a picture are 9 here; those for more than 144 patches are not used."""
    torch.manual_seed(0)
    encoder = {
        "vocab_size": 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.12,
    }
    config = DeepseekOcr2Config(
        vision_config={"sam_config": SAM, "encoder_config": encoder},
        text_config=text_settings() | EXPERTS | {"num_key_value_heads": 6},
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = DeepseekOcr2ForConditionalGeneration(config)
    queries = nn.Embedding(9, 32)
    nn.init.normal_(queries.weight, generator=generator(31))
    model.model.vision_tower.query_768_resolution = queries
    stir(model)
    return finish(model)


def build_unlimited(backend: str, window: int = 3) -> UnlimitedOcrForConditionalGeneration:
    """A CLIP-like tower reads the map of a SAM tower; answers see the prompt and their last three tokens."""
    torch.manual_seed(0)
    encoder = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 4,
        "initializer_range": 0.12,
    }
    config = UnlimitedOcrConfig(
        vision_config={"sam_config": SAM, "encoder_config": encoder},
        text_config=text_settings() | EXPERTS | {"num_key_value_heads": 6, "sliding_window": window},
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = UnlimitedOcrForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Placeholders alone: crops, the whole picture and what separates them share one id."""
    columns, rows = GRIDS[variant]
    random = generator(7, variant)
    whole = torch.randn(3, SIDE, SIDE, generator=random)
    crops = torch.randn(columns * rows, 3, CROP_SIDE, CROP_SIDE, generator=random)
    one = {"whole": whole, "crops": crops, "grid": [columns, rows]}
    count = len(features(model, **collate(model, [Media(kind, torch.empty(0), one)]))[0])
    return Media(kind, torch.full((count,), IMAGE), one)


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Whole pictures, the crops of all pictures in one row, and how many each has, as lists."""
    if not media:
        return {}
    crops = torch.cat([one.inputs["crops"] for one in media])
    inputs: dict[str, Any] = {
        "pixel_values": torch.stack([one.inputs["whole"] for one in media]),
        "num_local_patches": [len(one.inputs["crops"]) for one in media],
    }
    if len(crops):
        inputs["pixel_values_local"] = crops
    if model.config.model_type == "unlimited_ocr":
        inputs["patches_grid"] = [one.inputs["grid"] for one in media]
    return inputs


SPECIMENS = [
    Specimen("deepseek_ocr2", build_deepseek, media, collate),
    Specimen("unlimited_ocr", build_unlimited, media, collate),
    Specimen("unlimited_ocr", partial(build_unlimited, window=128), media, collate, variant="wide"),
]
