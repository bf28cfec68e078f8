"""The decoder's tokenizer, with a picture's token, and the chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlavaNextProcessor, PreTrainedTokenizerFast

from todre.errors import LoadError
from todre.smol.base import TOKENIZER
from todre.smol.weights import PAD_ID
from todre.tiny.model import build_processor as tiny_processor

IMAGE = "<image>"
IMAGE_ID = 3
"""Id of the picture's token, called `<repo_name>` in the decoder's vocabulary.

The decoder never sees the embedding of this token, so no row is added to the table.
"""
RENAMED = "<repo_name>"
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Turns without a system prompt; pictures come first, each on its own line."""
_CONTROL = 3
"""The type of special tokens in GGUF files."""


def tokenizer_of(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes.

    It is a byte-level BPE that cuts at digits, as `tokenizer.ggml.pre` = smollm means.

    Raises:
        LoadError: the file describes another kind of tokenizer.
    """
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise LoadError(f"The GGUF file has a tokenizer of the kind {kind}, not SmolLM2's; fetch it again.")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token, kind in kinds if kind == _CONTROL])
    return tokenizer


def check_tokenizer(tokenizer: Tokenizer, where: str | Path) -> None:
    """Raise unless the special tokens are where SmolLM2 has them.

    Args:
        tokenizer: the decoder's own, or with `<image>`.
        where: it was found.

    Raises:
        LoadError: they are elsewhere.
    """
    third = IMAGE if tokenizer.token_to_id(IMAGE) is not None else RENAMED
    wanted = {PAD: PAD_ID, START: 1, END: 2, third: IMAGE_ID}
    found = {token: tokenizer.token_to_id(token) for token in wanted}
    if found != wanted:
        raise LoadError(f"The decoder in {where} has its special tokens at {found}, not at {wanted}; fetch it again.")


def build_tokenizer(base: Path) -> PreTrainedTokenizerFast:
    """The model's tokenizer: the decoder's own, with `<image>` as token 3.

    It pads on the left, puts no token in front of a text, and ends an answer at `<|im_end|>`.

    Args:
        base: the decoder's folder.

    Raises:
        LoadError: the folder has no tokenizer of SmolLM2's.
    """
    try:
        document = json.loads((base / TOKENIZER).read_text(encoding="utf-8"))
        vocabulary, added = document["model"]["vocab"], document["added_tokens"]
        vocabulary[IMAGE] = vocabulary.pop(RENAMED)
        (renamed,) = [token for token in added if token["content"] == RENAMED]
        renamed["content"] = IMAGE
        tokenizer = Tokenizer.from_str(json.dumps(document))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(f"The decoder in {base} has no tokenizer of SmolLM2's ({error}); fetch it again.") from error
    check_tokenizer(tokenizer, base)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=PAD,
        additional_special_tokens=[START, IMAGE],
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaNextProcessor:
    """Image processor of `todre-tiny` and tokenizer together."""
    return tiny_processor(tokenizer, CHAT_TEMPLATE)
