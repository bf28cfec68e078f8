"""Words that a small word-level tokenizer does not know."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def unknown_words(tokenizer: Any, text: str, ids: Tensor) -> list[str]:
    """Words of a text that a small word-level tokenizer does not know, each once.

    Args:
        tokenizer: the model's tokenizer.
        text: part of a prompt.
        ids: the prompt's tokens; where none is unknown, no word is looked up.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or not bool((ids == unknown).any()):
        return []
    words = [word for word in text.split() if unknown in tokenizer.encode(word, add_special_tokens=False)]
    return list(dict.fromkeys(words))
