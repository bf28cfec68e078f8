"""What a run is made of, before anything is loaded."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from todre.errors import InvalidValueError


@dataclass(frozen=True)
class Cell:
    """Conditions that may differ within a run.

    Attributes:
        batch: rows.
        text_tokens: of each row's prompt.
        new_tokens: of each row's answer, exactly.
        backend: attention implementation; None for the model's own.
        threads: of the CPU; None for torch's default.
        group: which of the groups of methods that take turns together, where they are too many for one.
    """

    batch: int = 1
    text_tokens: int = 40
    new_tokens: int = 20
    backend: str | None = None
    threads: int | None = None
    group: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rounds:
    """How often: `warm_up` rounds that are not counted, then `rounds` that are; `memory` takes one more call each."""

    warm_up: int = 1
    rounds: int = 5
    oracle: bool = True
    memory: bool = True


@dataclass(frozen=True)
class Settings:
    """Every choice of a run.

    Attributes:
        preset: model with random weights.
        methods: as `todre.bench.wanted.parse` takes them, or JSON files; `("all",)` for every one that applies.
        retains: budgets that each method is measured at; none leaves the methods' own.
        batches, text_tokens, new_tokens, backends, threads: every combination is a cell. A backend of None is the
            model's own, 0 threads are torch's default.
        rounds, warm_up: of each cell.
        oracle: measure the oracles.
        memory: measure peak memory.
        seed: of weights, pixels, text and methods.
    """

    preset: str = "llava-next-260m"
    methods: tuple[str, ...] = ("todre:stages=1",)
    retains: tuple[float, ...] = (0.1,)
    batches: tuple[int, ...] = (1,)
    text_tokens: tuple[int, ...] = (40,)
    new_tokens: tuple[int, ...] = (20,)
    backends: tuple[str | None, ...] = (None,)
    threads: tuple[int, ...] = (0,)
    rounds: int = 5
    warm_up: int = 1
    oracle: bool = True
    memory: bool = True
    seed: int = 0

    def how_often(self) -> Rounds:
        """The rounds of each cell.

        Raises:
            InvalidValueError: no rounds, or fewer than none to warm up.
        """
        if self.rounds < 1 or self.warm_up < 0:
            raise InvalidValueError(
                f"At least 1 round must be measured and at least 0 warm up, not {self.rounds} and {self.warm_up}."
            )
        return Rounds(self.warm_up, self.rounds, self.oracle, self.memory)

    def cells(self) -> list[Cell]:
        """Every combination, backends outermost.

        Raises:
            InvalidValueError: a number out of range, or one given twice.
        """
        least = {"batches": 1, "text_tokens": 1, "new_tokens": 1, "threads": 0}
        for name, bound in least.items():
            for value in getattr(self, name):
                if value < bound:
                    raise InvalidValueError(f"{name} must be whole numbers of at least {bound}, not {value}.")
        for name in (*least, "backends"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or not values:
                raise InvalidValueError(
                    f"{name} must name each value once, not {', '.join(map(str, values)) or 'none'}."
                )
        combined = itertools.product(self.backends, self.threads, self.batches, self.text_tokens, self.new_tokens)
        return [Cell(batch, text, new, backend, threads or None) for backend, threads, batch, text, new in combined]
