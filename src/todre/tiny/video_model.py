"""The shipped model's second form, for clips and several pictures.

This form is a LLaVA-NeXT-Video of transformers and has the shape of the first.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from todre import tiny
from todre.files import write_atomic
from todre.hf.checkpoint_facts import FEATURE_LAYER, feature_layers
from todre.scenes.several import ORDINALS
from todre.tiny.export import replace_files
from todre.tiny.model import GRID, MEAN, PATCH, STD, TILE, build_image_processor
from todre.tiny.tokenizer import CHAT_TEMPLATE

NEW_WORDS: tuple[str, ...] = (
    *("which", *ORDINALS, "both", "pictures", "moves", "move", "way", "does", "become", "appears"),
    *("up", "down"),
)
"""Words about sets and clips that the first model does not know."""
_LIKE = {"pictures": "picture", "up": "above", "down": "below", "which": "what"}
"""New word → known word whose vector is the new word's start."""
_ONE_PICTURE = (
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image> ' }}{% endfor %}"
)
_MANY_PICTURES = (
    "{% set pictures = message['content'] | selectattr('type', 'equalto', 'image') | list %}"
    "{% for part in pictures %}"
    "{% if pictures | length > 1 and loop.index0 < " + str(len(ORDINALS)) + " %}"
    "{{ " + str(list(ORDINALS)) + "[loop.index0] + ' picture : ' }}{% endif %}"
    "{{ '<image> ' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video> ' }}{% endfor %}"
)
VIDEO_TEMPLATE = CHAT_TEMPLATE.replace(_ONE_PICTURE, _MANY_PICTURES)
"""The first model's template, with a label before each of several pictures."""
_VIDEO_SETTINGS: dict[str, Any] = {
    "video_processor_type": "LlavaNextVideoVideoProcessor",
    "size": {"height": TILE, "width": TILE},
    "do_center_crop": False,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def picture_label(place: int) -> str:
    """The words that the template writes before picture `place` (from 0) of several."""
    return f"{ORDINALS[place]} picture :"


def extend_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The first model's tokenizer with `NEW_WORDS` and `<video>` added at the end."""
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = inner["model"]["vocab"]
    for word in NEW_WORDS:
        vocabulary[word] = len(vocabulary)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(inner)),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<video>"],
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = VIDEO_TEMPLATE
    return wrapped


def build_video_model() -> tuple[LlavaNextVideoForConditionalGeneration, PreTrainedTokenizerFast]:
    """The first model's weights in the class that takes clips, and the tokenizer.

    The weights are float32; the new words get vectors of their own.
    """
    first, processor = tiny.load()
    known = dict(processor.tokenizer.get_vocab())
    tokenizer = extend_tokenizer(processor.tokenizer)
    settings = first.config.to_dict()
    text = {**settings["text_config"], "vocab_size": len(tokenizer)}
    config = LlavaNextVideoConfig(
        vision_config=settings["vision_config"],
        text_config=text,
        image_token_index=first.config.image_token_id,
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=settings["image_grid_pinpoints"],
        vision_feature_select_strategy=settings["vision_feature_select_strategy"],
        spatial_pool_mode="average",
        spatial_pool_stride=2,
        image_seq_length=GRID * GRID,
        video_seq_length=(GRID // 2) ** 2,
        tie_word_embeddings=True,
        **{FEATURE_LAYER: feature_layers(first.config)[0]},
    )
    model = LlavaNextVideoForConditionalGeneration(config).eval()
    state = first.state_dict()
    state = {name: value for name, value in state.items() if value.shape == model.state_dict()[name].shape}
    model.load_state_dict(state, strict=False)
    model.generation_config = first.generation_config
    _start_words(model, first.get_input_embeddings().weight, tokenizer, known)
    return model, tokenizer


@torch.no_grad()
def _start_words(
    model: LlavaNextVideoForConditionalGeneration,
    old: torch.Tensor,
    tokenizer: PreTrainedTokenizerFast,
    known: dict[str, int],
) -> None:
    """Set the word vectors: known words keep their vectors, new words get a start.

    A new word starts at the vector of a known word of like meaning, or at random at the same scale.
    """
    table = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    table.normal_(0.0, float(old.std()), generator=generator)
    table[: len(old)] = old
    for word, near in _LIKE.items():
        table[tokenizer.convert_tokens_to_ids(word)].mul_(0.5).add_(old[known[near]])


def export_video(
    model: LlavaNextVideoForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, target: Path
) -> None:
    """Write model, tokenizer and processor settings for `from_pretrained`.

    The weights are written as float16 safetensors; files are replaced one by one.
    """

    def fill(stage: Path) -> None:
        copy.deepcopy(model).to(torch.float16).save_pretrained(stage)
        tokenizer.save_pretrained(stage)
        image = build_image_processor().to_dict()
        settings = {
            "image_processor": {**image, "image_processor_type": "LlavaNextImageProcessor"},
            "video_processor": _VIDEO_SETTINGS,
            "processor_class": "LlavaNextVideoProcessor",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
            "image_token": "<image>",
            "video_token": "<video>",
        }
        write_atomic(stage / "processor_config.json", json.dumps(settings, indent=2) + "\n")

    replace_files(target, fill)
