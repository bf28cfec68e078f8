"""Replies in the shapes of OpenAI's chat completions, with a field of ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from todre.serve.answering import Outcome

DONE = "data: [DONE]\n\n"
"""The end of a stream."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The facts that all parts of one reply repeat.

    Attributes:
        id: of the reply.
        model: the name under which the model is served.
        created: seconds since 1970.
    """

    id: str
    model: str
    created: int

    def completion(self, outcome: Outcome) -> dict[str, Any]:
        """The whole reply."""
        message = ChatCompletionMessage(role="assistant", content=outcome.text)
        choice = Choice(index=0, message=message, finish_reason=outcome.ended, logprobs=None)
        document: dict[str, Any] = ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=usage_of(outcome),
        ).model_dump(exclude_unset=True)
        return document | {"todre": extension_of(outcome)}

    def first(self) -> str:
        """The chunk that opens a stream."""
        return self._event([_choice(ChoiceDelta(role="assistant", content=""))])

    def piece(self, text: str) -> str:
        """A chunk with a piece of the answer."""
        return self._event([_choice(ChoiceDelta(content=text))])

    def last(self, outcome: Outcome) -> str:
        """The chunk that says why the answer ended, and what was kept."""
        return self._event([_choice(ChoiceDelta(), outcome.ended)], todre=extension_of(outcome))

    def usage(self, outcome: Outcome) -> str:
        """The chunk of token counts, which has no choice."""
        return self._event([], usage=usage_of(outcome).model_dump())

    def _event(self, choices: list[ChunkChoice], **more: Any) -> str:
        chunk = ChatCompletionChunk(
            id=self.id, object="chat.completion.chunk", created=self.created, model=self.model, choices=choices
        )
        return event(chunk.model_dump(exclude_unset=True) | more)


def event(document: dict[str, Any]) -> str:
    """A document as an event of a stream."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def usage_of(outcome: Outcome) -> CompletionUsage:
    """Token counts; the prompt's are those before pruning."""
    return CompletionUsage(
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.new_tokens,
        total_tokens=outcome.prompt_tokens + outcome.new_tokens,
    )


def extension_of(outcome: Outcome) -> dict[str, Any]:
    """The field `todre` of a reply: what was kept, and where the time went."""
    found = outcome.kept.to_dict() | {"timings_ms": outcome.timings.to_dict()}
    if outcome.unknown_words:
        found["unknown_words"] = list(outcome.unknown_words)
    return found


def _choice(delta: ChoiceDelta, ended: Any = None) -> ChunkChoice:
    return ChunkChoice(index=0, delta=delta, finish_reason=ended)
