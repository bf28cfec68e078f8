"""Runs of `todre bench --serve`: configurations in turn, measured into a document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from todre.bench import document as doc
from todre.bench.document import Document
from todre.bench.load.client import Progress, Target
from todre.bench.load.client import drive as drive_requests
from todre.bench.load.configurations import Configuration, checked
from todre.bench.load.document import FORMAT, read
from todre.bench.load.probes import kv_tokens, watch_tower
from todre.bench.load.requests import Requests
from todre.bench.load.round import Round, run_round
from todre.bench.load.rows import Row, row_of
from todre.bench.load.servers import Server, filled, running
from todre.bench.load.settings import LoadCell, LoadSettings
from todre.errors import LoadError, MissingDependencyError

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What every round of a run shares.

    Attributes:
        configurations: what is compared; the first is the baseline.
        servers: the running servers, by the configuration's name.
        requests: the requests of all rounds.
        settings: the run's settings.
        model: folder or hub id of the model.
        tick: called with a description of each step before the step begins.
    """

    configurations: Sequence[Configuration]
    servers: dict[str, Server]
    requests: Requests
    settings: LoadSettings
    model: str
    tick: Tick = field(default=lambda what: None)

    def target(self, each: Configuration) -> Target:
        """The address of a configuration's server, and what its requests say."""
        server, how = self.servers[each.name], self.settings
        name = filled(each.model, server.port, self.model)
        return Target(f"{server.root}/v1", name, how.new_tokens, each.body, how.timeout)

    def warm_up(self) -> None:
        """Ask every configuration a few requests that are not counted.

        Raises:
            LoadError: a request fails.
        """
        for each in self.configurations:
            self.tick(f"warming up {each.name}")
            watch_tower(self.servers[each.name], each)
            driven = asyncio.run(drive_requests(self.target(each), self.requests.warming_up(), 1, Progress()))
            failed = next((one.failure for one in driven.outcomes if one.failure is not None), None)
            if failed is not None:
                raise LoadError(
                    f"The server of {each.name} cannot answer ({failed}); check the configuration and its server."
                )

    def measure(self, cell: LoadCell, place: int) -> list[Row]:
        """Rows of a cell: in each round all configurations take turns, rotated by one.

        A long round is for what prunes: the baseline's memory is not in question, and would take the longest.
        """
        baseline, *others = self.configurations
        asked = others if cell.soak and others else [baseline, *others]
        rounds: dict[str, list[Round]] = {each.name: [] for each in asked}
        count = self.settings.rounds_of(cell)
        for number in range(count):
            turn = number % len(asked)
            for each in (*asked[turn:], *asked[:turn]):
                what = f"{cell.concurrency} clients, round {number + 1} of {count}, {each.name}"
                self.tick(what)
                rounds[each.name].append(self._round(each, cell, place, number, what))
        first = rounds.get(baseline.name)
        return [
            row_of(each.name, cell.to_dict(), rounds[each.name], first, kv_tokens(self.servers[each.name]))
            for each in asked
        ]

    def _round(self, each: Configuration, cell: LoadCell, place: int, number: int, what: str) -> Round:
        def progressed(done: int) -> None:
            self.tick(f"{what}: {done} of {cell.requests}")

        return run_round(
            self.servers[each.name],
            each,
            self.target(each),
            self.requests.of_round(cell, place, number),
            cell.concurrency,
            self.settings.sample,
            progressed,
        )


def check_packages() -> None:
    """Raise unless the packages that ask servers are installed.

    Raises:
        MissingDependencyError: one is not.
    """
    for package in ("openai", "prometheus_client"):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"Measuring servers needs {package}, which is not installed; run `pip install 'todre[serve]'`."
            )


def run(
    configurations: Sequence[Configuration],
    requests: Requests,
    settings: LoadSettings,
    model: str,
    conditions: dict[str, Any],
    *,
    output: Path | None = None,
    resume: bool = False,
    command: str = "",
    tick: Tick = lambda what: None,
) -> Document:
    """Document of a load run; measures every cell and writes the document after each.

    Args:
        configurations: what is compared; the first is the baseline.
        requests: the requests of all rounds.
        settings: how much is measured.
        model: folder or hub id of the model, for `{model}` in commands.
        conditions: facts about model and machine.
        output: path of the document; None writes no file.
        resume: whether to continue the document at `output`, if there is one.
        command: the command line.
        tick: called with a description of each step before the step begins.

    Raises:
        InvalidValueError: the document at `output` was measured under other conditions.
        LoadError: a server does not start, or does not answer.
        MissingDependencyError: a package that asks servers is not installed.
    """
    check_packages()
    chosen = checked(list(configurations))
    whole = {**conditions, "settings": settings.to_dict(), "configurations": [each.to_dict() for each in chosen]}
    going_on = resume and output is not None and output.exists()
    document = doc.resumed(output, whole, read) if going_on and output else doc.new(whole, command, FORMAT)
    cells = settings.cells()
    left = [(place, cell) for place, cell in enumerate(cells) if not doc.is_finished(document, cell)]
    if not left:
        return document
    with running(chosen, model, settings.ready, tick) as servers:
        bench = Bench(chosen, servers, requests, settings, model, tick)
        bench.warm_up()
        for place, cell in left:
            doc.add(document, cell, bench.measure(cell, place), output)
    return document
