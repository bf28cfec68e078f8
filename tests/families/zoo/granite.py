"""Granite 4 Vision and Granite Docling: features of several tower layers enter several decoder layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.llava_next import collate as collate_next
from families.zoo.parts import pad_to, siglip_tower, stir
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    Granite4VisionTextConfig,
    GraniteDoclingConfig,
    GraniteDoclingForConditionalGeneration,
    GraniteDoclingTextConfig,
    GraniteDoclingVisionConfig,
)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

IMAGE, AROUND, WHOLE, TILE = 3, 4, 5, 6
SIDE, PATCH = 32, 4
SIZES = [(64, 64), (32, 64), (40, 60)]
PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
GRIDS = [(1, 2), (1, 1), (2, 2)]
SCALES = {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3}


def build_vision(backend: str) -> Granite4VisionForConditionalGeneration:
    """Visual tokens start as zeros; two tower layers and two corners of 2 x 2 patches enter before layers 0 to 3."""
    torch.manual_seed(0)
    tower = siglip_tower(SIDE, PATCH)
    tower.hidden_size = 64
    config = Granite4VisionConfig(
        vision_config=tower,
        text_config=Granite4VisionTextConfig(**text_settings(), **SCALES),
        image_token_id=IMAGE,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="full",
        downsample_rate="2/4",
        deepstack_layer_map=[[1, 1], [-1, 0]],
        spatial_vision_layer=-2,
        spatial_target_layers=[2, 3],
        qformer_config={"model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 48},
        attn_implementation=backend,
    )
    model = Granite4VisionForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_docling(backend: str) -> GraniteDoclingForConditionalGeneration:
    """4 x 4 patches shuffled together (2 x 2 on the fine path), two deepstack features."""
    torch.manual_seed(0)
    text = GraniteDoclingTextConfig(**text_settings(), **SCALES)
    vision = GraniteDoclingVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        out_hidden_size=text.hidden_size,
        scale_factor=4,
        deepstack_visual_indexes=[0, 1],
        initializer_range=0.12,
    )
    config = GraniteDoclingConfig(
        text_config=text, vision_config=vision, image_token_id=IMAGE, pad_token_id=0, attn_implementation=backend
    )
    model = GraniteDoclingForConditionalGeneration(config)
    stir(model)
    return finish(model)


def vision_media(model: Any, kind: str, variant: int) -> Media:
    """As LLaVA-NeXT, each tile at half the side."""
    size = SIZES[variant]
    tiles = image_size_to_num_patches(size, PINPOINTS, SIDE)
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant))
    with torch.no_grad():
        found = model.base_model.get_image_features(pixels[None], torch.tensor([size]), return_dict=True)
    count = len(found.deepstack_features[0][1][0])
    return Media(kind, torch.full((count,), IMAGE), {"pixels": pixels, "size": size})


def docling_media(model: Any, kind: str, variant: int, fine: bool = False) -> Media:
    """Each crop after a fence and its place, line breaks after a row, the whole page last."""
    rows, columns = GRIDS[variant]
    tile = [IMAGE] * (SIDE // PATCH // (2 if fine else 4)) ** 2
    ids: list[int] = []
    for row in range(rows):
        for column in range(columns):
            ids += [AROUND, TILE + 2 * row + column, *tile]
        ids.append(FIRST_WORD)
    if rows * columns > 1:
        ids += [FIRST_WORD, AROUND, WHOLE, *tile, AROUND]
    tiles = rows * columns + (rows * columns > 1)
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor(ids), {"pixels": pixels})


def docling_collate(model: Any, media: list[Media], fine: bool = False) -> dict[str, Tensor]:
    """One row of tiles for each picture, padded; where tiles are real."""
    if not media:
        return {}
    pixels = [one.inputs["pixels"] for one in media]
    real = pad_to([torch.ones(len(one)) for one in pixels]).bool()
    inputs = {"pixel_values": pad_to(pixels), "pixel_attention_mask": real}
    return inputs | ({"tile_fine_mask": torch.ones(len(media), dtype=torch.bool)} if fine else {})


SPECIMENS = [
    Specimen("granite4_vision", build_vision, vision_media, collate_next),
    Specimen("granite_docling", build_docling, docling_media, docling_collate),
    Specimen(
        "granite_docling",
        build_docling,
        partial(docling_media, fine=True),
        partial(docling_collate, fine=True),
        variant="fine",
    ),
]
