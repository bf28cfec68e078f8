"""Options of `todre bench`, and how their text becomes values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.bench.method_specs import parse
from todre.bench.presets import PRESETS, preset
from todre.bench.published import NAMES
from todre.bench.suites import SUITES
from todre.cli.budget_options import BenchRetains
from todre.cli.method_names import ALL, FILE, parse_method
from todre.cli.option_records import OptionRecord, Without
from todre.cli.options import Force, ModelOptions
from todre.cli.parsers import MOST, MOST_SEED, check_each_once, one_of, parse_names, usage

MOST_THREADS = 4096


def parse_preset(text: str) -> str:
    """Parse a preset's name or hub id into the preset's name."""
    with usage():
        return preset(text).name


def parse_specs(text: str) -> tuple[str, ...]:
    """Parse methods with settings, separated by commas, or `all`."""
    specs = tuple(part.strip() for part in text.split(",") if part.strip())
    if not specs:
        raise typer.BadParameter("no method is named; give names separated by commas, such as todre,vtw.")
    if specs == (ALL,):
        return specs
    for spec in specs:
        if spec.endswith(FILE):
            parse_method(spec)
            continue
        with usage():
            parse(spec)
    return specs


def parse_counts(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1, separated by commas."""
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1 or max(counts) > MOST:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1 to {MOST:,}, such as 1,8.")
    check_each_once(counts, text)
    return counts


def parse_threads(text: str) -> tuple[int, ...]:
    """Parse counts of threads; `all` becomes 0, torch's default."""
    threads = tuple(0 if part.strip() == ALL else parse_counts(part)[0] for part in text.split(","))
    check_each_once(threads, text)
    if max(threads) > MOST_THREADS:
        raise typer.BadParameter(f"{text!r} has more than {MOST_THREADS} threads; use at most those of the machine.")
    return threads


def parse_backends(text: str) -> tuple[str, ...]:
    """Parse names of attention implementations, separated by commas."""
    names = parse_names(text)
    check_each_once(names, text)
    return names


Checkpoint = Annotated[ModelOptions, Without("attn_implementation")]
"""Options of the model, except the attention implementation, set by --backends."""
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
        help=f"Measure the rows of a table of the paper, and show published beside measured: {', '.join(NAMES)}.",
    ),
]  # fmt: skip
Specs = Annotated[
    Any,
    typer.Option(
        "--methods", parser=parse_specs, metavar="A,B,…",
        help="Methods, with settings as in todre:stages=1 or vtw:layer=8, or JSON files; all: every one that applies.",
    ),
]  # fmt: skip
Batches = Annotated[Any, typer.Option("--batch", parser=parse_counts, metavar="A,B,…", help="Rows of a batch.")]
TextTokens = Annotated[
    Any, typer.Option("--text-tokens", parser=parse_counts, metavar="A,B,…", help="Text tokens of each prompt.")
]
AnswerTokens = Annotated[
    Any,
    typer.Option(
        "--new-tokens", parser=parse_counts, metavar="A,B,…", help="Tokens of each answer, which has exactly so many."
    ),
]
Backends = Annotated[
    Any,
    typer.Option(
        "--backends", parser=parse_backends, metavar="A,B,…", help="Attention: sdpa, eager, flash_attention_2, …"
    ),
]
Threads = Annotated[
    Any, typer.Option("--threads", parser=parse_threads, metavar="A,B,…", help="CPU threads; all: torch's default.")
]
RoundCount = Annotated[int | None, typer.Option("--rounds", min=1, max=MOST, help="Measured rounds of each cell.")]
WarmUp = Annotated[
    int | None, typer.Option("--warm-up", min=0, max=MOST, help="Rounds of each cell before the measured ones.")
]
NoOracle = Annotated[
    bool, typer.Option("--no-oracle", help="Leave out the oracles, which are prompts shortened by hand.")
]
NoMemory = Annotated[
    bool, typer.Option("--no-memory", help="Leave out peak memory, which takes one more call of each subject.")
]
Output = Annotated[
    Path | None, typer.Option("--output", help="The JSON document; written after every cell, whole or not at all.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the document at --output, if it has the same conditions.")
]
From = Annotated[Path | None, typer.Option("--from", help="Show and draw an earlier document; measure nothing.")]
Plots = Annotated[Path | None, typer.Option("--plots", help="Folder for figures: breakdown, speed-up, length, memory.")]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Check that pruning is right with every backend and dtype of the device; measure no time."
    ),
]

Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of random weights, pixels, text and methods.")
]


@dataclass(frozen=True)
class SweepOptions(OptionRecord):
    """Options that say what is measured, and how often.

    Every combination of methods, budgets and conditions is measured.
    """

    methods: Specs = None
    retain: BenchRetains = None
    batch: Batches = None
    text_tokens: TextTokens = None
    new_tokens: AnswerTokens = None
    backends: Backends = None
    threads: Threads = None
    rounds: RoundCount = None
    warm_up: WarmUp = None
    no_oracle: NoOracle = False
    no_memory: NoMemory = False

    def settings(self) -> dict[str, Any]:
        """The fields of `todre.bench.settings.Settings` that the user set."""
        values = {
            "methods": self.methods,
            "retains": self.retain,
            "batches": self.batch,
            "text_tokens": self.text_tokens,
            "new_tokens": self.new_tokens,
            "backends": self.backends,
            "threads": self.threads,
            "rounds": self.rounds,
            "warm_up": self.warm_up,
            "oracle": False if self.no_oracle else None,
            "memory": False if self.no_memory else None,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class BenchFiles(OptionRecord):
    """Options for documents and figures to write, to resume, or to read."""

    output: Output = None
    resume: Resume = False
    force: Force = False
    earlier: From = None
    plots: Plots = None
