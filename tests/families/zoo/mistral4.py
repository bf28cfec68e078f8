"""Mistral 4 behind the tower of Mistral 3 (latent attention), and Mistral Large 4 (chosen keys, shared latents)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.llava_towers import IMAGE, pixtral_collate
from families.zoo.mistral3 import MERGE, PATCH
from families.zoo.mistral3 import media as pixtral_media
from families.zoo.parts import pixtral_tower, stir
from families.zoo.specimen import Specimen, finish, generator
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral4Config,
    MistralLarge4Config,
    MistralLarge4ForConditionalGeneration,
    MistralLarge4TextConfig,
)

LATENT: dict[str, Any] = {
    "num_key_value_heads": 6,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
}
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}


def build_mistral4(backend: str) -> Mistral3ForConditionalGeneration:
    """The cache holds latents; queries are scaled by their position, here from the 16th token on."""
    torch.manual_seed(0)
    scaling = {"max_position_embeddings": 256, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.5}
    text = Mistral4Config(
        **text_settings() | LATENT, q_lora_rank=16, first_k_dense_replace=1, rope_parameters=YARN | scaling
    )
    config = Mistral3Config(
        vision_config=pixtral_tower(48, PATCH),
        text_config=text,
        image_token_id=IMAGE,
        spatial_merge_size=MERGE,
        tie_word_embeddings=False,
        attn_implementation=backend,
    )
    model = Mistral3ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_large(backend: str, chosen: int = 12) -> MistralLarge4ForConditionalGeneration:
    """Each query attends to the `chosen` keys that an indexer picks; the third layer reads the first one's latents."""
    torch.manual_seed(0)
    text = MistralLarge4TextConfig(
        **text_settings() | LATENT,
        rope_parameters=YARN | {"attention_factor": 1.0},
        index_topk=chosen,
        index_head_dim=16,
        index_n_heads=16,
        indexer_types=["full", "shared", "full", "full"],
        kv_source_layers=[0, 1, 0, 3],
        no_rope_layers=[1, 1, 1, 0],
    )
    config = MistralLarge4Config(
        vision_config=pixtral_tower(48, PATCH),
        text_config=text,
        image_token_id=IMAGE,
        spatial_merge_size=MERGE,
        attn_implementation=backend,
    )
    model = MistralLarge4ForConditionalGeneration(config)
    stir(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("softmax_scaling.scale"):
                parameter.copy_(0.1 + 0.1 * torch.rand(parameter.shape, generator=generator(29)))
    return finish(model)


SPECIMENS = [
    Specimen("mistral3", build_mistral4, pixtral_media, pixtral_collate, variant="mistral4"),
    Specimen("mistral_large4", build_large, pixtral_media, pixtral_collate),
    Specimen("mistral_large4", partial(build_large, chosen=2048), pixtral_media, pixtral_collate, variant="all-keys"),
]
