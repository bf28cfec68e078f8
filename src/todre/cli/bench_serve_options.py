"""Options of `todre bench --serve`, and how they become settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.bench.load.engines import ENGINES
from todre.bench.load.settings import LoadSettings
from todre.cli.bench_options import SweepOptions, parse_counts
from todre.cli.option_records import OptionRecord
from todre.cli.parsers import MOST, one_of, usage


def parse_words(text: str) -> tuple[str, ...]:
    """Parse words as a shell would."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} cannot be split into words ({error}); close what is quoted.") from None


def only(option: str, values: tuple[int, ...] | None) -> int | None:
    """The only value of an option that takes several without --serve."""
    if values is None:
        return None
    if len(values) > 1:
        raise typer.BadParameter(f"{option} takes one value with --serve; give one.")
    return values[0]


Serve = Annotated[
    bool,
    typer.Option(
        "--serve", help="Measure servers under load, pruned and unpruned in turn, in place of calls in this process."
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        parser=one_of(*ENGINES),
        metavar="NAME",
        help=f"With --serve: what serves, {' or '.join(ENGINES)}. Without it, {ENGINES[0]}.",
    ),
]
Servers = Annotated[
    Path | None,
    typer.Option("--servers", help="With --serve: a JSON list of servers to start, in place of --engine and methods."),
]
ServerPython = Annotated[
    str | None,
    typer.Option("--server-python", help="With --serve: the Python that has the engine. Without it, this one."),
]
ServerOptions = Annotated[
    Any,
    typer.Option(
        "--server-options",
        parser=parse_words,
        metavar="TEXT",
        help="With --serve: more options of each server, in one text, quoted as for a shell.",
    ),
]
OneServer = Annotated[
    bool,
    typer.Option("--one-server", help="With --serve --engine vllm: one server, with the budget in each request."),
]
Concurrency = Annotated[
    Any,
    typer.Option(
        "--concurrency", parser=parse_counts, metavar="A,B,…", help="With --serve: numbers of clients at once."
    ),
]
RequestCount = Annotated[
    int | None, typer.Option("--requests", min=1, max=MOST, help="With --serve: least requests of a round.")
]
Soak = Annotated[
    int | None,
    typer.Option("--soak", min=1, max=MOST, help="With --serve: also so many requests in a row, watching the memory."),
]


@dataclass(frozen=True)
class ServeOptions(OptionRecord):
    """Options that say which servers are measured, and under what load."""

    serve: Serve = False
    engine: EngineName = None
    servers: Servers = None
    server_python: ServerPython = None
    server_options: ServerOptions = None
    one_server: OneServer = False
    concurrency: Concurrency = None
    requests: RequestCount = None
    soak: Soak = None

    def settings(self, sweep: SweepOptions, seed: int, picture: tuple[int, int]) -> LoadSettings:
        """The settings of the run.

        Args:
            sweep: the options that all kinds of `todre bench` share.
            seed: seed of pictures and words.
            picture: (height, width) in pixels.
        """
        values = {
            "concurrency": self.concurrency,
            "requests": self.requests,
            "soak": self.soak,
            "new_tokens": only("--new-tokens", sweep.new_tokens),
            "text_tokens": only("--text-tokens", sweep.text_tokens),
            "rounds": sweep.rounds,
            "warm_up": sweep.warm_up,
            "seed": seed,
            "picture": picture,
        }
        with usage():
            return LoadSettings(**{name: value for name, value in values.items() if value is not None})
