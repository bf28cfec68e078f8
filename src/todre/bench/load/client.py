"""Clients of a server: streamed requests, each timed, with failures counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from todre.bench.load.requests import Messages
from todre.files import printable
from todre.hub import first_line


@dataclass(frozen=True)
class Target:
    """The server's address and what every request says.

    Attributes:
        address: base URL of the API, `http://127.0.0.1:8000/v1`.
        model: the model's name at the server.
        new_tokens: longest answer, in tokens.
        body: more entries of a request's body.
        timeout: seconds after which a request has failed.
    """

    address: str
    model: str
    new_tokens: int
    body: Mapping[str, Any]
    timeout: float


@dataclass(frozen=True)
class Outcome:
    """One request, timed; seconds since the round began.

    Attributes:
        sent: when the request was sent.
        texts: when each piece of the answer's text came.
        ended: when the answer ended, or failed.
        tokens: number of the answer's tokens: as the server counts them, else the number of pieces.
        failure: what failed, in a few words; None for a whole answer.
    """

    sent: float
    texts: tuple[float, ...]
    ended: float
    tokens: int
    failure: str | None = None

    @property
    def first_token(self) -> float:
        """Seconds from the request to the first piece of text."""
        return self.texts[0] - self.sent

    @property
    def whole(self) -> float:
        """Seconds from the request to the end of the answer."""
        return self.ended - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between neighbouring pieces of text."""
        return [later - earlier for earlier, later in zip(self.texts, self.texts[1:], strict=False)]


@dataclass(frozen=True)
class Driven:
    """A round's outcomes in the order of the requests, and its length in seconds."""

    outcomes: list[Outcome]
    seconds: float


@dataclass
class Progress:
    """Number of requests of a round that have an outcome."""

    done: int = 0


async def drive(target: Target, requests: Sequence[Messages], concurrency: int, progress: Progress) -> Driven:
    """Send all requests, at most `concurrency` at a time.

    Each client sends the next request that is left when its last one has ended, well or not.

    Args:
        target: the server.
        requests: the conversations to send.
        concurrency: number of clients.
        progress: counted up as requests end.
    """
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    left = iter(enumerate(requests))
    outcomes: dict[int, Outcome] = {}
    began = time.perf_counter()

    async with AsyncOpenAI(
        base_url=target.address,
        api_key="none",
        max_retries=0,
        timeout=target.timeout,
        http_client=DefaultAsyncHttpxClient(trust_env=False),  # a proxy of the environment is for other addresses
    ) as api:

        async def one_client() -> None:
            for number, messages in left:
                outcomes[number] = await _ask(api, target, messages, began)
                progress.done += 1

        await asyncio.gather(*(one_client() for _ in range(concurrency)))
    ordered = [outcomes[number] for number in range(len(requests))]
    return Driven(ordered, max(one.ended for one in ordered) if ordered else 0.0)


async def _ask(api: Any, target: Target, messages: Messages, began: float) -> Outcome:
    """Send one request and read its stream to the end; no failure is raised."""
    texts: list[float] = []
    sent = time.perf_counter() - began
    counted, reason = None, None
    try:
        async with asyncio.timeout(target.timeout):
            stream = await api.chat.completions.create(
                model=target.model,
                messages=messages,
                max_tokens=target.new_tokens,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=dict(target.body),
            )
            async for chunk in stream:
                now = time.perf_counter() - began
                for choice in chunk.choices:
                    if choice.delta.content:
                        texts.append(now)
                    reason = choice.finish_reason or reason
                if chunk.usage is not None:
                    counted = chunk.usage.completion_tokens
        failure = _failure(texts, reason)
    except Exception as error:
        failure = _named(error)
    ended = time.perf_counter() - began
    return Outcome(sent, tuple(texts), ended, len(texts) if counted is None else counted, failure)


def _failure(texts: Sequence[float], reason: str | None) -> str | None:
    if reason is None:
        return "the stream ended without a reason to finish"
    return None if texts else "the answer has no text"


def _named(error: Exception) -> str:
    """An error in a few words, such as `BadRequestError: 400, todre_retain is 2`."""
    return printable(f"{type(error).__name__}: {first_line(error)}")
