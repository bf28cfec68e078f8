"""The text of an answer while its tokens come.

It says what is certain of the text, and where it ends.
"""

from __future__ import annotations

from typing import Any

from todre.errors import UnsupportedInputError

_HALF = "\ufffd"
"""The character that stands for the beginning of one whose bytes are not complete."""


class TextSoFar:
    """The text of the tokens so far.

    All tokens are decoded anew each time, so that the pieces together are the text that decoding the whole answer
    gives, stripped as `todre ask` does. What a later token could still change is held back: blanks at the end, half
    characters, and the beginning of a text that ends the answer.

    Args:
        tokenizer: decodes the tokens.
        stop: texts that end the answer, which is cut before them.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self.tokens: list[int] = []
        self._given = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """Take a token; returns the text that has become certain by it."""
        self.tokens.append(token)
        text = self._text()
        held = 0 if self.stopped else self._uncertain(text)
        return self._give(text[: len(text) - held])

    def take(self, token: int) -> None:
        """Take a token of an answer that is given whole.

        Nothing is certain before its end then, so a tokenizer may change what it has written.
        """
        self.tokens.append(token)
        if self._stop:
            self._text()

    def rest(self) -> str:
        """The text that was held back, once no further token comes."""
        piece = self._give(self._text())
        if self._given != self._text():
            raise self._rewritten()
        return piece

    @property
    def text(self) -> str:
        """All text so far, as it would be if the answer ended here."""
        return self._text()

    def _text(self) -> str:
        text: str = self._tokenizer.decode(self.tokens, skip_special_tokens=True)
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self.stopped = True
            text = text[: min(places)]
        return text.strip()

    def _uncertain(self, text: str) -> int:
        """Characters at the end that a later token could still change or cut."""
        certain = text.rstrip(_HALF)
        longest = max(map(len, self._stop), default=0) - 1
        for length in range(min(len(certain), longest), 0, -1):
            if any(stop.startswith(certain[-length:]) for stop in self._stop if length < len(stop)):
                certain = certain[:-length]
                break
        return len(text) - len(certain.rstrip())

    def _give(self, text: str) -> str:
        if self._given.startswith(text):  # a token that is not complete can take back what is not yet certain
            return ""
        if not text.startswith(self._given):
            raise self._rewritten()
        piece = text[len(self._given) :]
        self._given = text
        return piece

    def _rewritten(self) -> UnsupportedInputError:
        return UnsupportedInputError(
            "The model's tokenizer changes text that it has already written, so this answer cannot be given piece by "
            "piece; ask for it whole (without stream, or by todre ask)."
        )
