"""Checkpoints with random weights on disk, for servers that load from a folder.

A checkpoint has all that a server needs: weights, tokenizer, processor and chat template. Nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from todre.bench.presets import Preset
from todre.bench.random_models import build
from todre.errors import InvalidValueError
from todre.hf.clip_weights import with_inner_name

IMAGE = "<image>"
_SPECIAL = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] + ' ' }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% else %}{{ '" + IMAGE + " ' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
MEAN, STD = (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)
"""Mean and standard deviation of the three colours, about those of photographs."""


def save_random_checkpoint(preset: Preset, folder: Path, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> int:
    """Write a preset's model with random weights as a folder that servers load.

    The tokenizer has one word for each token, so that each token of an answer becomes text at once. No token ends an
    answer, so that an answer has as many tokens as were asked for.

    Args:
        preset: the model's shape; LLaVA or LLaVA-NeXT.
        folder: the folder to fill; made if it is absent.
        dtype: dtype of the weights.
        seed: seed of the weights.

    Returns:
        Number of weights.

    Raises:
        InvalidValueError: there is no processor for this kind of model.
        LoadError: there is less memory than the weights take.
    """
    processor = _processor(preset)
    model = build(preset, torch.device("cpu"), dtype, seed=seed)
    model.generation_config.eos_token_id = None
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    count: int = sum(weight.numel() for weight in model.parameters())
    del model
    _rename_weights(folder)
    processor.save_pretrained(folder)
    return count


def random_words(count: int, seed: Sequence[int]) -> str:
    """A text of `count` tokens for a random checkpoint of at least 200 tokens.

    Args:
        count: number of words.
        seed: numbers that the words are drawn from.
    """
    numbers = np.random.default_rng(seed).integers(len(_SPECIAL), 200, count)
    return " ".join(f"w{number}" for number in numbers)


def _processor(preset: Preset) -> Any:
    """Image processor and tokenizer together, with the chat template."""
    from transformers import LlavaNextProcessor, LlavaProcessor

    kind, vision = preset.config["model_type"], preset.config["vision_config"]
    if kind not in ("llava", "llava_next"):
        raise InvalidValueError(
            f"{preset.name} ({kind}) cannot be written with a processor; use a LLaVA or LLaVA-NeXT preset."
        )
    cls = LlavaNextProcessor if kind == "llava_next" else LlavaProcessor
    return cls(
        image_processor=_image_processor(kind, vision["image_size"], preset.config.get("image_grid_pinpoints")),
        tokenizer=_tokenizer(preset.config["text_config"]["vocab_size"], preset.config["image_token_id"]),
        patch_size=vision["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _image_processor(kind: str, side: int, pinpoints: Any) -> Any:
    from transformers import CLIPImageProcessorPil, LlavaNextImageProcessorPil

    square = {"height": side, "width": side}
    shared = {"size": square, "crop_size": square, "image_mean": list(MEAN), "image_std": list(STD)}
    if kind == "llava":
        return CLIPImageProcessorPil(**shared)
    return LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints, do_center_crop=False, **shared)


def _tokenizer(size: int, image_token: int) -> Any:
    """A tokenizer of `size` words: special tokens, the image token, and `wN` for N."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{number}": number for number in range(size)}
    for token, number in {**_SPECIAL, IMAGE: image_token}.items():
        del vocabulary[f"w{number}"]
        vocabulary[token] = number
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[IMAGE],
        padding_side="left",
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
    )


def _rename_weights(folder: Path) -> None:
    """Give the tower's weights the names that checkpoints of every release have."""
    from safetensors.torch import load_file, save_file

    for file in sorted(folder.glob("*.safetensors")):
        weights = {with_inner_name(name): weight for name, weight in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})
        file.chmod(0o644)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        document = json.loads(index.read_text(encoding="utf-8"))
        document["weight_map"] = {with_inner_name(name): file for name, file in document["weight_map"].items()}
        index.write_text(json.dumps(document, indent=2), encoding="utf-8")
