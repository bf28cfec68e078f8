"""Pieces of `smol`'s prompt, as its chat template joins them.

A prompt is `<|im_start|>user`, newline, the picture, newline, the question, and then the turn of the assistant.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from todre.hf.keywords import IDS

START = "<|im_start|>user\n"
AFTER_PICTURE = "\n"
TURN = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"


class Pieces:
    """Token ids of the pieces of a prompt, each distinct piece encoded once.

    Attributes:
        before: ids before the picture.
        after: ids between the picture and the question.
        turn: ids between the question and the answer.
        end: id of the token that ends an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self.before = self.encode(START)
        self.after = self.encode(AFTER_PICTURE)
        self.turn = self.encode(TURN)
        (self.end,) = self.encode(END)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False)[IDS])
        return self._known[text]
