"""Mistral 3: the Pixtral tower, 2 x 2 patches merged, row breaks; Mistral or Ministral 3 as the decoder."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.llava_towers import IMAGE, pixtral_collate, pixtral_media
from families.zoo.parts import pixtral_tower, stir
from families.zoo.specimen import Media, Specimen, finish
from transformers import Ministral3Config, Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig

PATCH, MERGE = 3, 2


def ministral() -> Ministral3Config:
    """Queries are scaled by their position, here from the 16th token on."""
    rope = {
        "rope_type": "yarn",
        "rope_theta": 1e6,
        "factor": 16.0,
        "original_max_position_embeddings": 16,
        "max_position_embeddings": 256,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale_all_dim": 1.0,
        "mscale": 1.0,
        "llama_4_scaling_beta": 0.5,
    }
    return Ministral3Config(**text_settings() | {"max_position_embeddings": 256}, head_dim=16, rope_parameters=rope)


def build(backend: str, decoder: str = "mistral") -> Mistral3ForConditionalGeneration:
    """Mistral Small 3.1 with `mistral`, Ministral 3 with `ministral3`."""
    torch.manual_seed(0)
    text = (
        ministral() if decoder == "ministral3" else MistralConfig(**text_settings(), head_dim=16, sliding_window=None)
    )
    config = Mistral3Config(
        vision_config=pixtral_tower(48, PATCH),
        text_config=text,
        image_token_id=IMAGE,
        spatial_merge_size=MERGE,
        attn_implementation=backend,
    )
    model = Mistral3ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Pictures of several sizes, multiples of a merged patch."""
    return pixtral_media(model, kind, variant, cell=PATCH * MERGE)


SPECIMENS = [
    Specimen("mistral3", partial(build, decoder=name), media, pixtral_collate, variant=name)
    for name in ("mistral", "ministral3")
]
