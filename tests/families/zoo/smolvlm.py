"""SmolVLM and Idefics 3: rows of tiles, the place of each written before it, the whole last; Idefics 2: a perceiver."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    MistralConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

IMAGE, FAKE, GLOBAL, LINE, FIRST_CELL = 3, 4, 5, 6, 8
SIDE, PATCH, SCALE = 24, 4, 2
TOKENS = (SIDE // PATCH // SCALE) ** 2
GRIDS, FRAMES = ((0, 0), (1, 2), (2, 2)), (2, 3, 4)
LATENTS = 6


def tower() -> dict[str, Any]:
    """A SigLIP tower, which has no [CLS] token."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "initializer_range": 0.12,
    }


def build(backend: str) -> SmolVLMForConditionalGeneration:
    """SmolVLM with a Llama decoder; the same weights for every backend."""
    torch.manual_seed(0)
    config = SmolVLMConfig(
        vision_config=tower(),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        scale_factor=SCALE,
        attn_implementation=backend,
    )
    model = SmolVLMForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_idefics3(backend: str) -> Idefics3ForConditionalGeneration:
    """Idefics 3 with a Llama decoder; the same weights for every backend."""
    torch.manual_seed(0)
    config = Idefics3Config(
        vision_config=tower(),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        scale_factor=SCALE,
        attn_implementation=backend,
    )
    model = Idefics3ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_idefics2(window: int | None, backend: str) -> Idefics2ForConditionalGeneration:
    """Idefics 2 with a Mistral decoder, windowed or not; the same weights for every backend."""
    torch.manual_seed(0)
    settings = text_settings()
    perceiver = {
        "hidden_size": settings["hidden_size"],
        "resampler_n_latents": LATENTS,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
        "initializer_range": 0.12,
    }
    config = Idefics2Config(
        vision_config=tower(),
        perceiver_config=perceiver,
        text_config=MistralConfig(**settings, sliding_window=window),
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = Idefics2ForConditionalGeneration(config)
    latents = model.model.connector.perceiver_resampler.latents
    latents.data = torch.randn(latents.shape, generator=generator(13))
    stir(model)
    return finish(model)


def picture(rows: int, cols: int) -> list[int]:
    """Ids of one picture: its tiles row by row, then the whole; a picture of one tile has the whole alone."""
    ids = []
    for row in range(rows):
        for col in range(cols):
            ids += [FAKE, FIRST_CELL + row * cols + col, *[IMAGE] * TOKENS]
        ids.append(LINE)
    return [*ids, *[LINE] * bool(rows), FAKE, GLOBAL, *[IMAGE] * TOKENS, FAKE]


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture of 1, 2 + 1 or 4 + 1 tiles; a clip of 2 to 4 frames with their times, after an introduction."""
    if kind == "image":
        rows, cols = GRIDS[variant]
        tiles, ids = rows * cols + 1, picture(rows, cols)
    else:
        tiles, ids = FRAMES[variant], [FIRST_WORD, FIRST_WORD + 1, LINE]
        for frame in range(tiles):
            ids += [LINE, FIRST_WORD + 2, FIRST_WORD + 3 + frame, *picture(0, 0)]
        ids += [LINE, LINE]
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant, kind == "video"))
    return Media(kind, torch.tensor(ids), {"pixels": pixels, "mask": torch.ones(tiles, SIDE, SIDE, dtype=torch.bool)})


def media_idefics2(model: Any, kind: str, variant: int) -> Media:
    """A picture of any shape, black at its right and below, or cut into four and then whole: (1 or 5) x the latents."""
    tiles, high, wide = ((1, 20, 16), (5, 16, 24), (1, 24, 12))[variant]
    pixels = torch.zeros(tiles, 3, SIDE, SIDE)
    pixels[:, :, :high, :wide] = torch.randn(tiles, 3, high, wide, generator=generator(7, variant))
    mask = torch.zeros(tiles, SIDE, SIDE, dtype=torch.bool)
    mask[:, :high, :wide] = True
    ids = [token for _ in range(tiles) for token in (FAKE, *[IMAGE] * LATENTS)]
    return Media(kind, torch.tensor([*ids, FAKE]), {"pixels": pixels, "mask": mask})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Tiles of each picture or clip, filled up to the most tiles with black ones, which the model throws away."""
    if not media:
        return {}
    most = max(len(one.inputs["pixels"]) for one in media)
    pixels = torch.zeros(len(media), most, 3, SIDE, SIDE)
    mask = torch.zeros(len(media), most, SIDE, SIDE, dtype=torch.bool)
    for row, one in enumerate(media):
        tiles = len(one.inputs["pixels"])
        pixels[row, :tiles], mask[row, :tiles] = one.inputs["pixels"], one.inputs["mask"]
    return {"pixel_values": pixels, "pixel_attention_mask": mask}


SPECIMENS = [
    Specimen("smolvlm", build, media, collate, video=True),
    Specimen("idefics3", build_idefics3, media, collate),
    Specimen("idefics2", partial(build_idefics2, None), media_idefics2, collate, variant="full"),
    Specimen("idefics2", partial(build_idefics2, 8), media_idefics2, collate, variant="sliding", methods=("stage-1",)),
]
