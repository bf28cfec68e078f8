"""Checks of a rendered prompt before a model answers it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from todre.errors import InvalidValueError, LoadError
from todre.hf.model_parts import context_length


class ContextLengthError(InvalidValueError):
    """A prompt and its answer have more tokens than the model has positions."""


def check_texts(prompt: str, texts: Iterable[tuple[str, str]], name: str) -> None:
    """Raise if a text of a conversation is not in its prompt.

    Templates of some models leave roles or parts out without a word.

    Args:
        prompt: as the chat template rendered it.
        texts: (role, text) of every text of the conversation.
        name: the model's name, for the message.

    Raises:
        LoadError: a text is not there. What the assistant thought, up to `</think>`, may be left out.
    """
    for role, whole in texts:
        text = (whole.rpartition("</think>")[2] if role == "assistant" else whole).strip()
        if text and text not in prompt:
            raise LoadError(
                f"The chat template of {name} leaves out a text of the role {role!r}, so the model would not see it; "
                "put it into the user's message."
            )


def answer_length(model: Any, prompt: int, wanted: int | None, most: int) -> int:
    """The longest answer, in tokens, that the model has positions for.

    Args:
        model: the model.
        prompt: tokens of the prompt before pruning.
        wanted: length that was asked for; None for `most`, or less where the model's context ends.
        most: the longest answer where no length was asked for.

    Raises:
        ContextLengthError: the model's context has no room for the prompt and the answer.
    """
    context = context_length(model)
    if context is not None and prompt + (wanted or 1) > context:
        answer = f" and an answer of {wanted}" if wanted else ""
        raise ContextLengthError(
            f"The prompt has {prompt} tokens before pruning, and the model's context of {context} has no room for it"
            f"{answer}; send fewer or smaller pictures, or less text."
        )
    return wanted or (most if context is None else min(most, context - prompt))
