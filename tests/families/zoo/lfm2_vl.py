"""LFM2-VL: tiles and a thumbnail of any shape, padded patches, a decoder of short convolutions and attention."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import pad_to, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import Lfm2Config, Lfm2VlConfig, Lfm2VlForConditionalGeneration, Siglip2VisionConfig

IMAGE, START, END, THUMBNAIL, FIRST_CELL = 3, 4, 5, 6, 8
PATCH, TILE = 4, (4, 4)
PICTURES = ((0, (4, 6)), (2, (2, 6)), (4, (6, 4)))
"""For each variant: tiles, and the patches (rows, columns) of the whole picture."""
HYBRID = ["conv", "full_attention", "conv", "full_attention"]


def build(kinds: list[str], backend: str) -> Lfm2VlForConditionalGeneration:
    """A decoder with these kinds of layers; the same weights for every backend."""
    torch.manual_seed(0)
    vision = Siglip2VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_patches=16,
        patch_size=PATCH,
        vision_use_head=False,
        initializer_range=0.12,
    )
    text = Lfm2Config(**text_settings(), layer_types=kinds, conv_L_cache=3, block_auto_adjust_ff_dim=False)
    config = Lfm2VlConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        projector_hidden_size=40,
        downsample_factor=2,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = Lfm2VlForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture whole, or its tiles, the place of each written before it, and the whole as a thumbnail."""
    tiles, whole = PICTURES[variant]
    random = generator(7, variant)
    shapes = [TILE] * tiles + [whole]
    pixels = [torch.randn(rows * cols, 3 * PATCH**2, generator=random) for rows, cols in shapes]
    ids = [START]
    for index, (rows, cols) in enumerate(shapes):
        if tiles:
            ids.append(FIRST_CELL + index if index < tiles else THUMBNAIL)
        ids += [IMAGE] * (rows * cols // 4)
    return Media(kind, torch.tensor([*ids, END]), {"pixels": pixels, "shapes": shapes})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches of all tiles, filled up to the longest."""
    if not media:
        return {}
    pixels = [tile for one in media for tile in one.inputs["pixels"]]
    return {
        "pixel_values": pad_to(pixels),
        "pixel_attention_mask": pad_to([torch.ones(len(tile), dtype=torch.int32) for tile in pixels]),
        "spatial_shapes": torch.tensor([shape for one in media for shape in one.inputs["shapes"]]),
    }


SPECIMENS = [
    Specimen("lfm2_vl", partial(build, HYBRID), media, collate, variant="hybrid"),
    Specimen("lfm2_vl", partial(build, ["full_attention"] * 4), media, collate, variant="full"),
]
