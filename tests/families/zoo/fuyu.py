"""Fuyu: no tower; patches are projected straight into the decoder, row by row, with a newline token after each row."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import BOS, Media, Specimen, finish, generator
from transformers import FuyuConfig, FuyuForCausalLM, PersimmonConfig

IMAGE, NEWLINE = 3, 4
PATCH = 4
GRIDS = ((3, 4), (4, 4), (2, 5))


def build(backend: str) -> FuyuForCausalLM:
    """A Persimmon decoder; the same weights for every backend."""
    torch.manual_seed(0)
    settings = {name: value for name, value in text_settings().items() if name != "num_key_value_heads"}
    config = FuyuConfig(
        image_size=20,
        patch_size=PATCH,
        image_token_id=IMAGE,
        initializer_range=0.12,
        text_config=PersimmonConfig(**settings),
        attn_implementation=backend,
    )
    model = FuyuForCausalLM(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture of any shape, and the token that starts the text."""
    rows, cols = GRIDS[variant]
    pixels = torch.randn(rows * cols, 3 * PATCH**2, generator=generator(7, variant))
    return Media(kind, torch.tensor([*[*[IMAGE] * cols, NEWLINE] * rows, BOS]), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches of all pictures in one row."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [Specimen("fuyu", build, media, collate)]
