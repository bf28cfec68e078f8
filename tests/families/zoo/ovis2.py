"""Ovis 2: the thumbnail first, tiles with row and column tokens; visual tokens are mixtures of a table's rows."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import VOCAB, Media, Specimen, finish, generator
from transformers import Ovis2Config, Ovis2ForConditionalGeneration, Ovis2VisionConfig, Qwen2Config

IMAGE, START, GRID, COL, ROW, END = 3, 4, 5, 6, 7, 8
SIDE, PATCH, STRIDE = 24, 4, 2
TOKENS = (SIDE // PATCH // STRIDE) ** 2
GRIDS = ((1, 1), (1, 2), (2, 2))


def build(backend: str) -> Ovis2ForConditionalGeneration:
    """The same weights for every backend."""
    torch.manual_seed(0)
    settings = text_settings()
    vision = Ovis2VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vocab_size=40,
        hidden_stride=STRIDE,
        num_visual_indicator_tokens=5,
        initializer_range=0.12,
    )
    config = Ovis2Config(
        vision_config=vision,
        text_config=Qwen2Config(**settings),
        image_token_id=IMAGE,
        visual_indicator_token_ids=[START, GRID, COL, ROW, END],
        vocab_size=VOCAB,
        hidden_size=settings["hidden_size"],
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = Ovis2ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture of 1, 1 + 2 or 1 + 4 tiles."""
    rows, cols = GRIDS[variant]
    ids = [START, *[IMAGE] * TOKENS, GRID]
    for cell in range(rows * cols if variant else 0):
        row, col = divmod(cell, cols)
        ids += [IMAGE] * TOKENS
        ids += [COL] * (col < cols - 1) or [ROW] * (row < rows - 1)
    tiles = 1 + rows * cols if variant else 1
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor([*ids, END]), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """All tiles of all pictures in order."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [Specimen("ovis2", build, media, collate)]
