"""Tables in Markdown that compare several models, from their leaderboards and cards.

python benchmarks/both_models.py carry            differences between methods, model by model
python benchmarks/both_models.py ranks            how alike the models rank the methods
python benchmarks/both_models.py advice           what to use, and what it costs on every model
python benchmarks/both_models.py cards            accuracy without pruning by task, from the models' cards
python benchmarks/both_models.py best BOARD       by task and budget, the method that loses least
python benchmarks/both_models.py least BOARD      by task and rule, the least budget that costs little

BOARD is the name of a leaderboard in results/, without its suffix.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from todre.reading.costs import exceeds
from todre.reading.formats import interval_text, markdown_text, pipe_table
from todre.reading.results import ALL, NONE, Budget, Entry, Interval, Results, read
from todre.reading.tables import budget_text

RESULTS = Path(__file__).resolve().parents[1] / "results"
BOARDS = {"todre-tiny": "leaderboard", "smol": "leaderboard-smol", "smol-1": "leaderboard-smol-1"}
CARDS = {"todre-tiny": "model-card", "smol": "smol-card", "smol-1": "smol-1-card"}
RULES = ("todre", "todre-v1", "todre-patches", "mmr", "divprune", "cls-top-k", "fastv", "random")
LARGEST_LOSS = 0.05
"""The lower end of an interval that counts as a small loss, in shares of the score's scale."""


@dataclass(frozen=True)
class Claim:
    """A finding that one model may show and another not.

    Attributes:
        text: the finding, as a difference above or below 0 would show it.
        method, other: the methods whose scores are compared; `other` is one that the run compared all with, or "none".
        retains: budgets at which they are compared; None is a budget of the method's own.
    """

    text: str
    method: str
    other: str
    retains: tuple[Budget | None, ...] = (0.25, 0.1, 0.05, 0.02)


CLAIMS = (
    Claim("half of the tokens are enough for ToDRE v2", "todre", NONE, (0.5,)),
    Claim("a quarter is enough for ToDRE v2", "todre", NONE, (0.25,)),
    Claim("ToDRE v2 is ahead of random tokens", "todre", "random"),
    Claim("ToDRE v1 is ahead of random tokens", "todre-v1", "random"),
    Claim("v1 is ahead of v2", "todre-v1", "todre"),
    Claim("v2 gains by sparing newline tokens", "todre-patches", "todre"),
    Claim("v1 gains by a horizon before its stage 2", "todre-horizon", "todre-v1"),
    Claim("MMR is ahead of ToDRE v2", "mmr", "todre"),
    Claim("DivPrune is ahead of ToDRE v2", "divprune", "todre"),
    Claim("[CLS] attention alone is behind ToDRE v2", "cls-top-k", "todre"),
    Claim("CDPruner, which reads the question, is ahead of ToDRE v2", "cdpruner", "todre"),
    Claim("DivPrune is ahead of ToDRE v1", "divprune", "todre-v1"),
    Claim("MMR is ahead of ToDRE v1", "mmr", "todre-v1"),
    Claim("[CLS] attention alone is behind ToDRE v1", "cls-top-k", "todre-v1"),
    Claim("even spacing is ahead of random tokens", "uniform", "random"),
    Claim("means over cells are behind random tokens", "pooling", "random"),
    Claim("the price of merging in the tower (ToMe)", "tome", NONE, (0.25, 0.1)),
    Claim("the price of FastV's choice after layer 2", "fastv", NONE),
    Claim("the price of PyramidDrop", "pyramiddrop", NONE),
    Claim("the price of random tokens deep inside", "random-deep", NONE, (0.1, 0.02)),
    Claim("the price of nothing visual from half of the layers on (VTW)", "vtw", NONE, (None,)),
)

ADVICE: tuple[tuple[str, Budget, tuple[str, ...]], ...] = (
    ("half of the tokens", 0.5, ("todre", "random")),
    ("a quarter", 0.25, ("todre", "todre-v1", "random")),
    ("a tenth", 0.1, ("todre-patches", "todre-v1", "mmr", "todre", "random")),
    ("a twentieth", 0.05, ("todre-v1", "mmr", "random")),
    ("a fiftieth, chosen for each question", 0.02, ("cdpruner",)),
    ("a fiftieth, chosen for the picture", 0.02, ("divprune", "todre", "random")),
    ("a fiftieth, from the third layer on", 0.02, ("fastv",)),
)
"""What somebody wants to keep, the budget, and the methods to compare there."""


def boards() -> dict[str, Results]:
    """The leaderboards that are committed, by model."""
    paths = {model: RESULTS / f"{name}.json" for model, name in BOARDS.items()}
    return {model: read([path]) for model, path in paths.items() if path.exists()}


def found(results: Results, name: str, retain: Budget | None) -> Entry | None:
    """The entry of a method at a budget, if it was run."""
    return next((entry for entry in results.at(retain) if entry.name == name), None)


def compared(results: Results, claim: Claim, retain: Budget | None) -> Interval | None:
    """The difference that a claim is about; None if it was not measured."""
    entry = found(results, claim.method, retain)
    if entry is None:
        return None
    return entry.value("difference") if claim.other == NONE else entry.others.get(claim.other, {}).get(ALL)


def sign(interval: Interval) -> int:
    """1 or -1 if the interval excludes 0, else 0."""
    if not interval.excludes(0.0) or interval.value is None:
        return 0
    return 1 if interval.value > 0 else -1


def verdict(intervals: dict[str, Interval]) -> str:
    """In words, whether all models show the same; intervals that do not overlap are not the same size."""
    signs = {model: sign(each) for model, each in intervals.items()}
    if len(signs) < 2:
        return ""
    if len(set(signs.values())) == 1:
        if not any(signs.values()):
            return "nowhere told apart"
        most = max(intervals, key=lambda model: abs(intervals[model].value or 0.0))
        return "the same" if _overlap(list(intervals.values())) else f"the same way, **more on {most}**"
    if {1, -1} <= set(signs.values()):
        return "**reversed**"
    shown = [model for model, direction in signs.items() if direction]
    return f"only on {' and '.join(shown)}"


def _overlap(intervals: Sequence[Interval]) -> bool:
    """True if some number lies in all intervals."""
    edges = [(each.low, each.high) for each in intervals if each.low is not None and each.high is not None]
    return max(low for low, _ in edges) <= min(high for _, high in edges)


def signed(interval: Interval | None) -> str:
    return "–" if interval is None else interval_text(interval, signed=True).replace("-", "−")


def carry() -> str:
    """Each claim's difference in points on every model, and what comes of it."""
    models = boards()
    lines = []
    for claim in CLAIMS:
        for retain in claim.retains:
            cells = {model: compared(results, claim, retain) for model, results in models.items()}
            known = {model: each for model, each in cells.items() if each is not None}
            if known:
                kept = "own" if retain is None else budget_text(retain)
                pair = f"{claim.method} − {'no pruning' if claim.other == NONE else claim.other}"
                lines.append([claim.text, pair, kept, *(signed(each) for each in cells.values()), verdict(known)])
    return pipe_table(["finding", "difference", "kept", *models, "carries over"], lines)


def advice() -> str:
    """What methods lose at the budgets that somebody may want, on every model."""
    models = boards()
    lines = []
    for wanted, retain, methods in ADVICE:
        for method in methods:
            entries = [found(results, method, retain) for results in models.values()]
            prices = [signed(None if entry is None else entry.value("difference")) for entry in entries]
            lines.append([wanted, markdown_text(method), *prices])
            wanted = ""
    return pipe_table(["kept", "method", *models], lines)


def ranks() -> str:
    """Spearman's correlation of retention over methods within the budget, for each pair of models."""
    models = boards()
    budgets = next(iter(models.values())).budgets
    lines = []
    for first, second in combinations(models, 2):
        cells = []
        for retain in budgets:
            mine, other = (_retained(models[model], retain) for model in (first, second))
            both = sorted(mine.keys() & other.keys())
            rho = spearman([mine[name] for name in both], [other[name] for name in both]) if len(both) > 2 else None
            cells.append("–" if rho is None else f"{rho:.2f} ({len(both)})")
        lines.append([f"{first}, {second}", *cells])
    return pipe_table(["models", *(budget_text(retain) for retain in budgets)], lines)


def _retained(results: Results, retain: Budget) -> dict[str, float]:
    values = {e.name: e.value("retention").value for e in results.at(retain) if not exceeds(e)}
    return {name: value for name, value in values.items() if value is not None}


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation of two lists; equal values share the mean of their ranks."""
    return float(np.corrcoef(mean_ranks(first), mean_ranks(second))[0, 1])


def mean_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0; equal values get their mean."""
    array = np.asarray(values)
    return [float((array < each).sum() + ((array == each).sum() - 1) / 2) for each in array]


def _tasks(results: Results) -> dict[str, str]:
    """Task → its heading; the mean over all comes first."""
    return {ALL: "all tasks", **{task: task.partition("-")[2] for task in results.tasks}}


def best(board: str) -> str:
    """By task and budget: the method within the budget that loses least, and its difference."""
    results = read([RESULTS / f"{board}.json"])
    lines = []
    for task, heading in _tasks(results).items():
        cells = []
        for retain in results.budgets:
            within = [e for e in results.at(retain) if not exceeds(e) and e.value("difference", task).value is not None]
            first = max(within, key=lambda entry: entry.value("difference", task).value or 0.0)
            cells.append(f"{markdown_text(first.name)} {signed(first.value('difference', task))}")
        lines.append([heading, *cells])
    return pipe_table(["", *(f"{budget_text(retain)} kept" for retain in results.budgets)], lines)


def least(board: str) -> str:
    """By task and rule: the least budget at which the loss is small, and the difference there."""
    results = read([RESULTS / f"{board}.json"])
    names = [name for name in RULES if name in results.names]
    lines = []
    for task, heading in _tasks(results).items():
        cells = []
        for name in names:
            cells.append(_least([entry for entry in results.of(name) if entry.retain is not None], task))
        lines.append([heading, *cells])
    return pipe_table(["", *(markdown_text(name) for name in names)], lines)


def _small(difference: Interval) -> bool:
    return difference.low is not None and difference.low >= -LARGEST_LOSS


def _least(measured: Sequence[Entry], task: str) -> str:
    """Text of the least budget from which on all larger ones are enough too."""
    chosen = None
    for entry in sorted(measured, key=lambda entry: -float(entry.retain or 0)):
        if not _small(entry.value("difference", task)):
            break
        chosen = entry
    if chosen is None or chosen.retain is None:
        return "none"
    return f"{budget_text(chosen.retain)}: {signed(chosen.value('difference', task))}"


def cards() -> str:
    """Accuracy without pruning, by task and model."""
    paths = {model: RESULTS / f"{name}.json" for model, name in CARDS.items()}
    known = {model: json.loads(path.read_text(encoding="utf-8")) for model, path in paths.items() if path.exists()}
    lines = []
    for task in next(iter(known.values()))["tasks"]:
        lines.append([task, *(_accuracy(card["tasks"][task]) for card in known.values())])
    lines.append(["**all**", *(_accuracy(card["all"]) for card in known.values())])
    lines.append(["all, grey picture", *(_accuracy(card["blind"]) for card in known.values())])
    lines.append(["questions", *(f"{card['conditions']['questions']:,}" for card in known.values())])
    return pipe_table(["", *known], lines)


def _accuracy(numbers: dict[str, float]) -> str:
    return interval_text(Interval(numbers["score"], numbers["low"], numbers["high"]))


TABLES: dict[str, Callable[[], str]] = {"carry": carry, "advice": advice, "ranks": ranks, "cards": cards}
BOARD_TABLES: dict[str, Callable[[str], str]] = {"best": best, "least": least}


def main(arguments: list[str] | None = None) -> int:
    """Print one table; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) == 1 and given[0] in TABLES:
        sys.stdout.write(TABLES[given[0]]())
        return 0
    if len(given) == 2 and given[0] in BOARD_TABLES and (RESULTS / f"{given[1]}.json").exists():
        sys.stdout.write(BOARD_TABLES[given[0]](given[1]))
        return 0
    sys.stderr.write(f"error: write {' or '.join(TABLES)}, or {' or '.join(BOARD_TABLES)} with a board of results/.\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
