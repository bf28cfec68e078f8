"""How long an answer may be, by the positions that a model has."""

from __future__ import annotations

from typing import Any

from todre.errors import InvalidValueError
from todre.hf.model_parts import context_length


class ContextLengthError(InvalidValueError):
    """A prompt and its answer have more tokens than the model has positions."""


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
