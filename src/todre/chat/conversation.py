"""Conversations: pictures and texts of each turn, as the chat template takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A picture and the name of its file."""

    name: str
    image: Image.Image

    @property
    def size(self) -> str:
        """Width and height in pixels, as text."""
        return f"{self.image.width} × {self.image.height}"


@dataclass(frozen=True)
class Turn:
    """What the user says: pictures, and a text about them or about earlier ones."""

    pictures: tuple[Picture, ...]
    text: str

    def message(self) -> dict[str, Any]:
        """The turn as a message for the chat template, as `todre ask` makes it."""
        pictures = [{"type": "image", "image": picture.image} for picture in self.pictures]
        return {"role": "user", "content": [*pictures, {"type": "text", "text": self.text}]}


@dataclass(frozen=True)
class Exchange:
    """A turn and its answer."""

    turn: Turn
    answer: str

    def messages(self) -> list[dict[str, Any]]:
        """The two messages."""
        return [self.turn.message(), {"role": "assistant", "content": [{"type": "text", "text": self.answer}]}]


def messages_of(earlier: tuple[Exchange, ...], turn: Turn) -> list[dict[str, Any]]:
    """All messages of a conversation, up to the turn that is to be answered."""
    return [*(message for exchange in earlier for message in exchange.messages()), turn.message()]
