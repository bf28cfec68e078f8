"""Which requests are answered together: those that ask for the same, in batches that no answer depends on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from todre.evaluate.conditions import Condition, draws_at_random
from todre.methods.base import Method
from todre.running import Media


@dataclass(frozen=True)
class Request:
    """What is asked about a document.

    Args:
        places: of the results among all of them; one for each of `wanted`, if there is more than one thing to tell.
        document: its number within the task; None for a request without one.
        key: only requests with the same can be done together.
        text: the question.
        media: opens what the document shows.
        wanted: continuations to judge.
    """

    places: tuple[int, ...]
    document: int | None
    key: Hashable
    text: str
    media: Callable[[], list[Media]]
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draws:
    """The method for each document; one that chooses at random draws anew for each group of documents.

    Groups go by the documents' numbers alone, so neither batches nor ranks change a draw, and they are `todre eval`'s
    where each document has a picture of its own.

    Args:
        method: what is pruned.
        group_size: documents of a group, in their order.
    """

    method: Method
    group_size: int

    def group(self, document: int | None) -> int:
        """The number of a document's group; 0 where nothing is drawn."""
        return (document or 0) // self.group_size if draws_at_random(self.method) else 0

    def method_for(self, group: int) -> Method:
        """The method with the group's seed."""
        return Condition("", self.method).method_for(group) if draws_at_random(self.method) else self.method


def batches(requests: Sequence[Request], draws: Draws, size: int) -> Iterator[tuple[int, list[Request]]]:
    """(group, requests) of each batch: of one key and one group of draws, long questions first.

    Args:
        requests: in any order.
        draws: tell the groups.
        size: most requests of a batch.
    """
    alike: dict[tuple[Hashable, int], list[Request]] = {}
    for request in requests:
        alike.setdefault((request.key, draws.group(request.document)), []).append(request)
    for (_, group), members in alike.items():
        ordered = sorted(members, key=lambda request: -len(request.text))
        for start in range(0, len(ordered), size):
            yield group, ordered[start : start + size]
