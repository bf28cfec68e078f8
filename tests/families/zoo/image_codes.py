"""Chameleon and Emu 3: a picture becomes codes of the vocabulary, and its visual tokens are their word embeddings."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    ChameleonVQVAEConfig,
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3TextConfig,
    Emu3VQVAEConfig,
)

IMAGE, START, END, LINE, WRAPPER, FRAME_END, FIRST_CODE, CODES = 3, 4, 5, 6, 7, 8, 10, 10
FACTOR, SIDE = 4, 20
SIZES = ((12, 20), (16, 12), (20, 20))
"""Emu 3's pictures: (height, width) in pixels for each variant."""


def build(backend: str) -> ChameleonForConditionalGeneration:
    """Chameleon, whose decoder is the model itself; the same weights for every backend."""
    torch.manual_seed(0)
    letters = {IMAGE: "<image>"} | {FIRST_CODE + code: f"IMGIMG{chr(ord('A') + code)}Z" for code in range(CODES)}
    codes = ChameleonVQVAEConfig(
        embed_dim=8,
        num_embeddings=CODES,
        latent_channels=32,
        resolution=SIDE,
        base_channels=32,
        channel_multiplier=[1, 1, 1],
        num_res_blocks=1,
    )
    config = ChameleonConfig(
        **text_settings(),
        vq_config=codes,
        vocabulary_map={name: token for token, name in letters.items()},
        attn_implementation=backend,
    )
    model = ChameleonForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_emu3(backend: str) -> Emu3ForConditionalGeneration:
    """Emu 3; the same weights for every backend."""
    torch.manual_seed(0)
    names = {IMAGE: "<image>", LINE: "<|extra_200|>"}
    names |= {FIRST_CODE + code: f"<|visual token {code:06d}|>" for code in range(CODES)}
    codes = Emu3VQVAEConfig(
        codebook_size=CODES,
        embed_dim=4,
        latent_channels=4,
        base_channels=32,
        channel_multiplier=[1, 1, 1],
        num_res_blocks=1,
        attn_resolutions=[2],
        hidden_size=32,
        temporal_downsample_factor=2,
    )
    config = Emu3Config(
        vq_config=codes,
        text_config=Emu3TextConfig(**text_settings()),
        vocabulary_map={name: token for token, name in names.items()},
        attn_implementation=backend,
    )
    model = Emu3ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """One size only, between a start and an end token."""
    pixels = torch.randn(3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor([START, *[IMAGE] * (SIDE // FACTOR) ** 2, END]), {"pixels": pixels})


def media_emu3(model: Any, kind: str, variant: int) -> Media:
    """Any size; each row of codes ends in a line token, which has a placeholder as the codes have."""
    high, wide = SIZES[variant]
    pixels = torch.zeros(3, SIDE, SIDE)
    pixels[:, :high, :wide] = torch.randn(3, high, wide, generator=generator(7, variant))
    rows, cols = high // FACTOR, wide // FACTOR
    ids = [START, FIRST_WORD + rows, FIRST_WORD + 30, FIRST_WORD + cols, WRAPPER, *[IMAGE] * (rows * (cols + 1))]
    return Media(kind, torch.tensor([*ids, FRAME_END, END]), {"pixels": pixels, "size": torch.tensor([high, wide])})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures stacked in order."""
    return {"pixel_values": torch.stack([one.inputs["pixels"] for one in media])} if media else {}


def collate_emu3(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures filled up to one size, and their own sizes."""
    if not media:
        return {}
    return {**collate(model, media), "image_sizes": torch.stack([one.inputs["size"] for one in media])}


SPECIMENS = [
    Specimen("chameleon", build, media, collate),
    Specimen("emu3", build_emu3, media_emu3, collate_emu3),
]
