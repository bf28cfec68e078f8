"""Checks of a rendered prompt before a model answers it."""

from __future__ import annotations

from collections.abc import Iterable

from todre.errors import LoadError


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
