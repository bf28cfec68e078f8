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
        batch: rows.
        text_tokens: of each row's prompt.
        new_tokens: of each row's answer, exactly.
        backend: attention implementation; None for the model's own.
        threads: of the CPU; None for torch's default.
        group: which of the groups of methods that take turns together, where they are too many for one.
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
        warm_up: rounds that are not counted.
        rounds: rounds that are.
        oracle: measure oracles as well.
        memory: one more call for peak memory.
    """

    warm_up: Natural = 1
    rounds: Count = 5
    oracle: bool = True
    memory: bool = True


@dataclass(frozen=True)
class Settings(Checked):
    """Every choice of a run.

    Attributes:
        preset: model with random weights.
        methods: as `todre.bench.method_specs.parse` takes them, or JSON files; `("all",)` for every one that applies.
        retains: budgets that each method is measured at; none leaves the methods' own.
        batches, text_tokens, new_tokens, backends, threads: every combination is a cell. A backend of None is the
            model's own, 0 threads are torch's default.
        rounds, warm_up: of each cell.
        oracle: measure the oracles.
        memory: measure peak memory.
        seed: of weights, pixels, text and methods.
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
