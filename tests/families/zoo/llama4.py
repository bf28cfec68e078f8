"""Llama 4: chunked layers with rotary positions, full layers without, mixture of experts, tiles with separators."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor
from transformers import Llama4Config, Llama4ForConditionalGeneration, Llama4TextConfig, Llama4VisionConfig

IMAGE, START, END, WHOLE, COLUMN, ROW = 3, 4, 5, 6, 7, 8
SIDE, PATCH = 24, 4
GRIDS = [(1, 2), (1, 1), (2, 2)]
"""Rows and columns of crops; a picture of one crop is shown once, any other also as a whole, last."""


def build(backend: str, full: bool = False) -> Llama4ForConditionalGeneration:
    """Chunks of 16 tokens, experts in every second layer.

    The scaling of queries by their column (`attn_temperature_tuning`) starts at column 8192, as in the checkpoints: it
    counts padding, so that a padded batch differs from its singles beyond that.
    """
    torch.manual_seed(0)
    text = Llama4TextConfig(
        **text_settings() | {"max_position_embeddings": 4096},
        head_dim=8,
        intermediate_size_mlp=64,
        num_local_experts=4,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        attention_chunk_size=16,
        layer_types=["full_attention"] * 4 if full else ["chunked_attention", "full_attention"] * 2,
    )
    vision = Llama4VisionConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        vision_output_dim=40,
        projector_input_dim=40,
        projector_output_dim=40,
        image_size=SIDE,
        patch_size=PATCH,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.12,
    )
    config = Llama4Config(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        attn_implementation=backend,
    )
    model = Llama4ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Crops row by row with separators, then the whole picture."""
    rows, columns = GRIDS[variant]
    tile = [IMAGE] * (SIDE // PATCH // 2) ** 2
    ids = [START]
    if rows * columns > 1:
        for _ in range(rows):
            for column in range(columns):
                ids += tile + ([COLUMN] if column < columns - 1 else [])
            ids.append(ROW)
    ids += [WHOLE, *tile, END]
    tiles = rows * columns + (rows * columns > 1)
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor(ids), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """The tiles of all pictures in one row."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [
    Specimen("llama4", build, media, collate),
    Specimen("llama4", partial(build, full=True), media, collate, variant="full"),
]
