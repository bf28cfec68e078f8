"""Settings of a run, known before anything is loaded."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from todre.fields import Checked, Items
from todre.fields.kinds import Count, Natural, Retain, Seed


@dataclass(frozen=True)
class Cell(Checked):
    """Conditions that may differ within a run.

    Attributes:
        batch: number of rows.
        text_tokens: number of text tokens of each row's prompt.
        new_tokens: exact number of tokens of each row's answer.
        backend: attention implementation; None means the model's own.
        threads: number of CPU threads; None means torch's default.
        group: number of the group of methods that take turns; there is more than one if there are many methods.
    """

    batch: Count = 1
    text_tokens: Count = 40
    new_tokens: Count = 20
    backend: str | None = None
    threads: Count | None = None
    group: Natural = 0

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rounds(Checked):
    """Rounds of each cell.

    Attributes:
        warm_up: number of rounds that are not counted.
        rounds: number of rounds that are counted.
        oracle: whether to measure oracles too.
        memory: whether to measure peak memory, in one more call.
    """

    warm_up: Natural = 1
    rounds: Count = 5
    oracle: bool = True
    memory: bool = True


@dataclass(frozen=True)
class Settings(Checked):
    """Every choice of a run.

    Attributes:
        preset: name of the model with random weights.
        methods: as `todre.bench.method_specs.parse` takes them, or JSON files; `("all",)` for every one that applies.
        retains: budgets at which each method is measured; if empty, methods use their own.
        batches, text_tokens, new_tokens, backends, threads: every combination is a cell. Backend None means the model's
            own, and 0 threads mean torch's default.
        rounds, warm_up: numbers of counted and uncounted rounds of each cell.
        oracle: whether to measure the oracles.
        memory: whether to measure peak memory.
        seed: seed of weights, pixels, text and methods.
    """

    preset: str = "llava-next-260m"
    methods: Annotated[tuple[str, ...], Items(least=1)] = ("todre:stages=1",)
    retains: tuple[Retain, ...] = (0.1,)
    batches: Annotated[tuple[Count, ...], Items(least=1, once=True)] = (1,)
    text_tokens: Annotated[tuple[Count, ...], Items(least=1, once=True)] = (40,)
    new_tokens: Annotated[tuple[Count, ...], Items(least=1, once=True)] = (20,)
    backends: Annotated[tuple[str | None, ...], Items(least=1, once=True)] = (None,)
    threads: Annotated[tuple[Natural, ...], Items(least=1, once=True)] = (0,)
    rounds: Count = 5
    warm_up: Natural = 1
    oracle: bool = True
    memory: bool = True
    seed: Seed = 0

    def how_often(self) -> Rounds:
        """The rounds of each cell."""
        return Rounds(self.warm_up, self.rounds, self.oracle, self.memory)

    def cells(self) -> list[Cell]:
        """Every combination, backends outermost."""
        combined = itertools.product(self.backends, self.threads, self.batches, self.text_tokens, self.new_tokens)
        return [Cell(batch, text, new, backend, threads or None) for backend, threads, batch, text, new in combined]
