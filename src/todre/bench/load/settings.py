"""Settings of a load run, known before any server is started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from todre.fields import Checked, Items
from todre.fields.kinds import Count, Natural, Positive, Seed


@dataclass(frozen=True)
class LoadCell(Checked):
    """Conditions that may differ within a run.

    Attributes:
        concurrency: number of clients; each sends its next request when its last one is answered.
        requests: number of requests of a round.
        pictures: number of different pictures, which then come again; 0 for a new one in every request.
        soak: whether the round is a long one, in which the server's memory is watched.
    """

    concurrency: Count
    requests: Count
    pictures: Natural = 0
    soak: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LoadSettings(Checked):
    """Every choice of a load run.

    Attributes:
        concurrency: numbers of clients; a cell for each.
        requests: least number of requests of a round.
        each: least number of requests of each client in a round.
        new_tokens: longest answer; a random checkpoint's answers have exactly so many tokens.
        text_tokens: words of each question.
        picture: (height, width) in pixels.
        rounds: counted rounds of each cell.
        warm_up: requests to each configuration before the first round, which are not counted.
        soak: requests of the long round; 0 for none.
        soak_concurrency: number of clients of the long round.
        soak_pictures: number of different pictures of the long round.
        timeout: seconds after which a request has failed.
        ready: seconds after which a server that does not answer has failed to start.
        sample: seconds between two looks at a server's metrics.
        seed: seed of pictures and words.
    """

    concurrency: Annotated[tuple[Count, ...], Items(once=True)] = (1, 4, 8, 16, 32)
    requests: Count = 16
    each: Count = 2
    new_tokens: Count = 16
    text_tokens: Count = 20
    picture: tuple[Count, Count] = (336, 672)
    rounds: Count = 3
    warm_up: Natural = 2
    soak: Natural = 0
    soak_concurrency: Count = 8
    soak_pictures: Count = 200
    timeout: Positive = 1200.0
    ready: Positive = 600.0
    sample: Positive = 0.05
    seed: Seed = 0

    def cells(self) -> list[LoadCell]:
        """Every cell: one for each concurrency, and the long one last."""
        found = [LoadCell(count, max(self.requests, self.each * count)) for count in self.concurrency]
        if self.soak:
            found.append(LoadCell(self.soak_concurrency, self.soak, self.soak_pictures, soak=True))
        return found

    def rounds_of(self, cell: LoadCell) -> int:
        """Number of rounds of a cell; a long one has one."""
        return 1 if cell.soak else self.rounds

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)
