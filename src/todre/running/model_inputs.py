"""A question about pictures and clips as a model's inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from todre.clips import Clip
from todre.errors import InvalidValueError, LoadError, UnsupportedInputError
from todre.hf.keywords import IDS
from todre.loading.model import Loaded
from todre.processing import apply, check_columns
from todre.processing.unknown_words import unknown_words

Media = Image.Image | Clip
"""The media that a question can be about."""


class QuestionWarning(UserWarning):
    """The model does not know some words of the question."""


def build_inputs(loaded: Loaded, media: Sequence[Media], question: str) -> tuple[Any, str]:
    """Model inputs and the rendered prompt of a question about pictures and clips.

    Returns:
        A batch of one on the model's device, and the prompt as the chat template renders it.

    Raises:
        InvalidValueError: an empty question, nothing to ask about, or a question that holds a placeholder.
        LoadError: the processor has no chat template, or its files do not fit the model's.
        UnsupportedInputError: a clip, and a model that takes none.
    """
    processor = loaded.processor
    check_question(processor, question, media)
    if not getattr(processor, "chat_template", None):
        raise LoadError(
            f"{loaded.name} has no chat template, so a question cannot be put into its prompt format; "
            "add its chat_template.jinja beside the processor's files."
        )
    if any(isinstance(medium, Clip) for medium in media) and getattr(processor, "video_processor", None) is None:
        raise UnsupportedInputError(
            f"{loaded.name} takes pictures and no clips (its {type(processor).__name__} has no video processor); "
            "ask about single frames, or use a model that was trained on video."
        )
    content = [*map(_item, media), {"type": "text", "text": question}]
    inputs, prompt = apply(processor, [{"role": "user", "content": content}])
    check_columns(loaded.model.config, inputs)
    _warn_unknown(processor.tokenizer, question, inputs[IDS])
    return inputs.to(loaded.device, dtype=loaded.model.dtype), prompt


def _item(medium: Media) -> dict[str, Any]:
    """The medium as an item of a message."""
    if isinstance(medium, Clip):
        return {"type": "video", "video": medium}
    return {"type": "image", "image": medium}


def check_question(processor: Any, question: str, media: Sequence[Media]) -> None:
    """Check a question before anything is made of it.

    Raises:
        InvalidValueError: it is empty, is about nothing, or holds a placeholder.
    """
    placeholders = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video")]
    if not question.strip():
        raise InvalidValueError("The question is empty; ask something about the picture.")
    if not media:
        raise InvalidValueError("There is no image to ask about; give at least one picture or clip.")
    for placeholder in placeholders:
        if placeholder and placeholder in question:
            raise InvalidValueError(
                f"The question holds {placeholder!r}, which marks a picture's place in the prompt; leave it out."
            )


def _warn_unknown(tokenizer: Any, question: str, ids: torch.Tensor) -> None:
    """Warn about words that a small word-level tokenizer does not know."""
    words = unknown_words(tokenizer, question, ids)
    if words:
        warnings.warn(f"the model does not know: {', '.join(words)}", QuestionWarning, stacklevel=4)
