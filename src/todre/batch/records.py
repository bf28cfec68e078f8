"""Records, which are rows as they were read, and outcomes, which are rows done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Place = tuple[Any, ...]
"""Where a record is in its source: what the source's `read` takes."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row as its source holds it; whether it can be answered is not known yet.

    Attributes:
        place: where it is in its source.
        id: unique in the source.
        values: the fields of the row.
        openai: True for the shape of OpenAI's batch API, False for the plain one.
    """

    place: Place
    id: str
    values: dict[str, Any]
    openai: bool = False

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of a hash of all fields; pictures count by their paths."""
        return digest_of(self.values)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer and its counts of tokens.

    Attributes:
        text: the answer, without special tokens.
        ended: "stop" if the model ended the answer, "length" if it reached the limit.
        model: name of the model that answered.
        prompt_tokens: tokens of the prompt before pruning; None where the server does not say it.
        new_tokens: generated tokens, the closing one included; None where the server does not say it.
        visual_tokens: visual tokens of the prompt, and those that entered the decoder; None where nobody says it.
        body: an endpoint's whole answer, else None.
        request_id: an endpoint's name of the request, or empty.
        guarded: what a guard saw in each picture; None without one.
        unknown_words: words of the last message that the tokenizer does not know.
    """

    text: str
    ended: str
    model: str
    prompt_tokens: int | None
    new_tokens: int | None
    visual_tokens: tuple[int, int] | None
    body: dict[str, Any] | None = None
    request_id: str = ""
    guarded: tuple[dict[str, Any], ...] | None = None
    unknown_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a row has no answer.

    Attributes:
        type: name of the error's class.
        message: one sentence.
        status: an endpoint's HTTP status, or None.
        body: an endpoint's answer to a request that it refused, or None.
        request_id: an endpoint's name of the request, or empty.
    """

    type: str
    message: str
    status: int | None = None
    body: Any = None
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row that is done: exactly one of `reply` and `failure` is there.

    Attributes:
        id, digest, openai: see `Record`.
    """

    id: str
    digest: str
    openai: bool
    reply: Reply | None = None
    failure: Failure | None = None

    @classmethod
    def of(cls, record: Record, done: Reply | Failure) -> Outcome:
        """The outcome of a record."""
        reply, failure = (done, None) if isinstance(done, Reply) else (None, done)
        return cls(id=record.id, digest=record.digest, openai=record.openai, reply=reply, failure=failure)


Work = Callable[[Record], Outcome]
"""The row function: answers one record.

A row that cannot be answered is an outcome, not an error.
"""
Backend = Callable[[Iterable[Record]], Iterator[Outcome]]
"""Answers records, reading few ahead.

Outcomes come in the order in which they are done.
"""


def digest_of(values: Any) -> str:
    """16 hexadecimal digits of a hash of a JSON value, whatever the order of names."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_hashed)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _hashed(value: Any) -> str:
    """Bytes, such as those of a picture in a table, as a hash of them.

    Dates and decimals of a table count by what Python writes for them.
    """
    held = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(held, digest_size=16).hexdigest()
