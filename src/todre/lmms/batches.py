"""Batches of requests of one kind, so that no answer depends on its batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from todre.evaluate.conditions import Condition
from todre.methods.base import Method
from todre.methods.shared.seeds import draws_at_random
from todre.processing.downsampling import Shown
from todre.running import Media


@dataclass(frozen=True)
class Request:
    """A question about a document, or continuations of it to judge.

    Args:
        places: positions of this request's results among all results: one for a question, one for each continuation.
        document: number (from 0) of the document within the task; None for a request without a document.
        key: requests with equal keys can be answered together.
        text: the question.
        media: function that opens the document's pictures and clips.
        continuations: texts to judge; empty for a question.
    """

    places: tuple[int, ...]
    document: int | None
    key: Hashable
    text: str
    media: Callable[[], list[Media]]
    continuations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Requests of a batch that the processor takes together.

    Attributes:
        requests: the requests.
        talks: the conversation of each.
        shown: what each shows, as the method wants it.
    """

    requests: list[Request] = field(default_factory=list)
    talks: list[Any] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Draws:
    """The method for each document, with its random draws.

    A method that chooses at random draws anew for each group of documents. Groups go by the documents' numbers alone,
    so neither batches nor ranks change a draw. Where each document has a picture of its own, the groups are those of
    `todre eval`.

    Args:
        method: the method that prunes.
        group_size: number of successive documents in a group.
    """

    method: Method
    group_size: int

    def group(self, document: int | None) -> int:
        """The number (from 0) of a document's group; 0 for methods without random draws."""
        return (document or 0) // self.group_size if draws_at_random(self.method) else 0

    def method_for(self, group: int) -> Method:
        """The method with the group's seed."""
        return Condition("", self.method).method_for(group) if draws_at_random(self.method) else self.method


def batches(requests: Sequence[Request], draws: Draws, size: int) -> Iterator[tuple[int, list[Request]]]:
    """Yield (group, requests) for each batch.

    The requests of a batch have one key and one group of draws. Requests with long texts come first.

    Args:
        requests: in any order.
        draws: the groups of documents.
        size: most requests of a batch.
    """
    alike: dict[tuple[Hashable, int], list[Request]] = {}
    for request in requests:
        alike.setdefault((request.key, draws.group(request.document)), []).append(request)
    for (_, group), members in alike.items():
        ordered = sorted(members, key=lambda request: -len(request.text))
        for start in range(0, len(ordered), size):
            yield group, ordered[start : start + size]
