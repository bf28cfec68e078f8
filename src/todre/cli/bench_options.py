"""Options of `todre bench`, and how their text becomes values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from todre.bench.method_specs import parse
from todre.bench.presets import PRESETS, preset
from todre.bench.published import NAMES
from todre.bench.suites import SUITES
from todre.cli import options as opt
from todre.cli.options import ALL, one_of, parse_each_once, parse_method, parse_names, parse_retain
from todre.errors import InvalidValueError, UnknownMethodError

MOST_THREADS = 4096


def parse_preset(text: str) -> str:
    """A preset's name, from that or from a hub id."""
    try:
        return preset(text).name
    except InvalidValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_specs(text: str) -> tuple[str, ...]:
    """Methods with settings, separated by commas, or `all`."""
    specs = tuple(part.strip() for part in text.split(",") if part.strip())
    if not specs:
        raise typer.BadParameter("no method is named; give names separated by commas, such as todre,vtw.")
    if specs == (ALL,):
        return specs
    for spec in specs:
        if spec.endswith(".json"):
            parse_method(spec)
            continue
        try:
            parse(spec)
        except (InvalidValueError, UnknownMethodError) as error:
            raise typer.BadParameter(str(error)) from error
    return specs


def parse_retains(text: str) -> tuple[float, ...]:
    """Budgets, separated by commas."""
    retains = tuple(parse_retain(part) for part in parse_names(text))
    parse_each_once(retains, text)
    return retains


def parse_counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, separated by commas."""
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1 or max(counts) > opt.MOST:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1 to {opt.MOST:,}, such as 1,8.")
    parse_each_once(counts, text)
    return counts


def parse_threads(text: str) -> tuple[int, ...]:
    """Counts of threads; `all` is torch's default, 0."""
    threads = tuple(0 if part.strip() == ALL else parse_counts(part)[0] for part in text.split(","))
    parse_each_once(threads, text)
    if max(threads) > MOST_THREADS:
        raise typer.BadParameter(f"{text!r} has more than {MOST_THREADS} threads; use at most those of the machine.")
    return threads


def parse_backends(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    names = parse_names(text)
    parse_each_once(names, text)
    return names


Weights = Annotated[
    Any,
    typer.Option(
        "--random-weights",
        parser=parse_preset,
        metavar="PRESET",
        help=f"Random weights in the shape of a preset ({', '.join(PRESETS)}), or of a hub id that has one.",
        show_default=False,
    ),
]
Suite = Annotated[
    Any,
    typer.Option(
        "--suite",
        parser=one_of(*SUITES),
        metavar="NAME",
        help="A named run; other options change it. "
        + "; ".join(f"{name}: {suite.summary}" for name, suite in SUITES.items())
        + ".",
    ),
]
PaperTable = Annotated[
    Any,
    typer.Option(
        "--table", parser=one_of(*NAMES), metavar="NAME",
        help=f"Measure the rows of a table of the paper, published beside measured: {', '.join(NAMES)}.",
    ),
]  # fmt: skip
Specs = Annotated[
    Any,
    typer.Option(
        "--methods", parser=parse_specs, metavar="A,B,…",
        help="Methods, with settings as in todre:stages=1 or vtw:layer=8, or JSON files; all: every one that applies.",
    ),
]  # fmt: skip
Retains = Annotated[
    Any,
    typer.Option(
        "--retain", parser=parse_retains, metavar="A,B,…", help="Budgets to measure each method at: shares or counts."
    ),
]
Batches = Annotated[Any, typer.Option("--batch", parser=parse_counts, metavar="A,B,…", help="Rows of a batch.")]
TextTokens = Annotated[
    Any, typer.Option("--text-tokens", parser=parse_counts, metavar="A,B,…", help="Text tokens of each prompt.")
]
AnswerTokens = Annotated[
    Any,
    typer.Option("--new-tokens", parser=parse_counts, metavar="A,B,…", help="Tokens of each answer, exactly so many."),
]
Backends = Annotated[
    Any,
    typer.Option("--backends", parser=parse_backends, metavar="A,B,…", help="sdpa, eager, flash_attention_2, …"),
]
Threads = Annotated[
    Any, typer.Option("--threads", parser=parse_threads, metavar="A,B,…", help="CPU threads; all: torch's default.")
]
RoundCount = Annotated[int | None, typer.Option("--rounds", min=1, max=opt.MOST, help="Measured rounds of each cell.")]
WarmUp = Annotated[
    int | None, typer.Option("--warm-up", min=0, max=opt.MOST, help="Rounds of each cell before they count.")
]
NoOracle = Annotated[bool, typer.Option("--no-oracle", help="Leave out the hand-shortened prompts.")]
NoMemory = Annotated[bool, typer.Option("--no-memory", help="Leave out peak memory, which takes one more call each.")]
Output = Annotated[
    Path | None, typer.Option("--output", help="The JSON document; written after every cell, whole or not at all.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the document at --output, if it has the same conditions.")
]
From = Annotated[Path | None, typer.Option("--from", help="Measure nothing: show, and draw, what this document holds.")]
Plots = Annotated[Path | None, typer.Option("--plots", help="Folder for figures: breakdown, speed-up, length, memory.")]
Check = Annotated[
    bool, typer.Option("--check", help="Measure no time: is pruning right with every backend and dtype of the device?")
]
