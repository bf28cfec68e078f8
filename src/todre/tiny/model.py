"""The shipped model: its config, its random start, and its processor.

It is a LLaVA-NeXT of a few million parameters, made of transformers' own classes.
"""

from __future__ import annotations

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from todre.hf.checkpoint_facts import FEATURE_LAYER
from todre.scenes.vocabulary import SHAPES, plural
from todre.tiny.initial import ROPE_THETA, start_tower
from todre.tiny.tokenizer import CHAT_TEMPLATE

TILE = 96
PATCH = 8
GRID = TILE // PATCH
WIDTH = 192
HEADS = 6
PINPOINTS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
MEAN = (0.45, 0.45, 0.45)
STD = (0.27, 0.27, 0.27)


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlavaNextConfig:
    """The model's config: CLIP tower, Llama decoder, tied embeddings.

    The tower has 5 layers and its features come from the fourth; the decoder has 8 layers of 6 heads.
    """
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=5,
        num_attention_heads=HEADS,
        image_size=TILE,
        patch_size=PATCH,
        projection_dim=WIDTH,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
        **{FEATURE_LAYER: -2},
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlavaNextForConditionalGeneration:
    """A model with random weights; the tower starts as `start_tower` sets it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaNextForConditionalGeneration(build_config(tokenizer))
    generation = model.generation_config
    generation.pad_token_id, generation.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    generation.bos_token_id = tokenizer.bos_token_id
    with torch.no_grad():
        table = model.get_input_embeddings().weight.mul_(2.5)
        ids = tokenizer.get_vocab()
        for shape in SHAPES:
            table[ids[plural(shape)]] = table[ids[shape]] + 0.5 * table[ids[plural(shape)]]
    start_tower(model.model.vision_tower, GRID, WIDTH, HEADS)
    return model


def build_image_processor() -> LlavaNextImageProcessorPil:
    """The PIL image processor: thumbnail of 96 × 96 and crops of 96 × 96."""
    return LlavaNextImageProcessorPil(
        image_grid_pinpoints=PINPOINTS,
        size={"height": TILE, "width": TILE},
        crop_size={"height": TILE, "width": TILE},
        do_center_crop=False,
        image_mean=list(MEAN),
        image_std=list(STD),
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, template: str = CHAT_TEMPLATE) -> LlavaNextProcessor:
    """Image processor and tokenizer together, with a chat template."""
    return LlavaNextProcessor(
        image_processor=build_image_processor(),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
