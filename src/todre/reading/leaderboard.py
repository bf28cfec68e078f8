"""The leaderboard's page in Markdown, from the document of `todre eval` alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from todre.reading.choice import RANDOM, best_first
from todre.reading.costs import exceeds
from todre.reading.formats import interval_text, markdown_text, number, pipe_table, to_markdown
from todre.reading.result_pages import paragraph
from todre.reading.results import Budget, Entry, Results, share_of
from todre.reading.tables import budget_text, table, unmarked

_SCORE_COLUMNS = ("method", "per layer", "entered", "retention", "score", "difference", "sure")
_GROUPS = ("Within the budget:", "More visual tokens per layer than the budget:")
FIGURES = {
    "retention": "retention against visual tokens kept",
    "pareto": "retention against visual tokens per decoder layer",
    "heatmap": "retention by method and task",
    "radar": "retention by task",
}
"""Captions of the page's figures, by the end of the file's name."""


def page(results: Results, source: str, command: str, board: str = "leaderboard") -> str:
    """Page of the leaderboard: conditions, the best, and every method's numbers.

    Args:
        results: the results of one document.
        source: the document's path in the repository, such as `results/leaderboard.json`.
        command: the command that made the document.
        board: the name that files of its figures begin with.
    """
    parts = [
        f"# Leaderboard: {len(results.names)} methods on {results.model}",
        _conditions(results, source, command),
        "## What it says",
        "\n".join(_item(sentence) for sentence in findings(results)),
        _figure(board, "retention"),
        _figure(board, "pareto"),
        "## Retention by budget",
        paragraph(
            "In percent of no pruning's score, with 95 % intervals, sorted by the budget nearest to 10 %. A budget is "
            "what each method counts by itself. Methods that drop inside the decoder run its first layers on all "
            "visual tokens, and methods inside the vision tower may hand over more than the budget. So the second "
            "column shows the visual tokens that a decoder layer ran on, the mean over layers and questions, budget by "
            f"budget ({results.none[0].visual_tokens:.0f} without pruning), and methods that carry over 5 % more than "
            "a budget have a table of their own. In the first table the highest of each column is bold."
        ),
        *_retention(results),
        *_by_budget(results),
        *_own(results),
        *_draws(results),
        f"## By task\n\n{_figure(board, 'heatmap')}\n\n{_figure(board, 'radar')}",
        *_left_out(results),
    ]
    return "\n\n".join(parts) + "\n"


def findings(results: Results) -> list[str]:
    """Sentences on each budget: the best, and how many are no better than chance.

    The best method within the budget is named first, then the best of those that carry more tokens.
    """
    score = interval_text(results.none[0].value("score"))
    sentences = [f"Without pruning the model scores {score}."]
    return [*sentences, *(_finding(results, retain) for retain in results.budgets)]


def _finding(results: Results, retain: Budget) -> str:
    """A paragraph on one budget."""
    order = best_first(results.at(retain))
    within, over = _groups(order)
    budget = share_of(retain, results.none[0].visual_tokens) * results.none[0].visual_tokens
    text = f"Kept {budget_text(retain)}:"
    if within:
        text += f" of those with no more than {budget:.0f} visual tokens per layer, {_bold(within[0])} retains most, "
        text += f"{_kept(within[0])} %"
    if within and over:
        text += f"; of those with more, {_bold(over[0])}, {_kept(over[0])} % with {over[0].layer_mean:.0f}"
    if over and not within:
        text += f" {_bold(over[0])} retains most, {_kept(over[0])} %, with {over[0].layer_mean:.0f} per layer"
    level = sum(not entry.differs() for entry in order)
    text += f". {level} of {len(order)} methods are not told apart from no pruning."
    worse = _not_above_random(order)
    if worse is not None:
        words = {0: "None retains", 1: "One retains"}.get(worse, f"{worse} retain")
        text += f" {words} no more than random choice does in the mean."
    return text


def _groups(entries: Sequence[Entry], retain: Budget | None = None) -> tuple[list[Entry], list[Entry]]:
    """Entries within the budget, and those that carry more visual tokens per layer."""
    return (
        [entry for entry in entries if not exceeds(entry, retain)],
        [entry for entry in entries if exceeds(entry, retain)],
    )


def _not_above_random(order: Sequence[Entry]) -> int | None:
    """Number of methods that retain no more than random choice; None without random."""
    kept = {entry.name: _fraction(entry) for entry in order}
    return sum(value <= kept[RANDOM] for name, value in kept.items() if name != RANDOM) if RANDOM in kept else None


def _fraction(entry: Entry) -> float:
    """Share of the unpruned score that an entry keeps; without one, below all others."""
    value = entry.value("retention").value
    return float("-inf") if value is None else float(value)


def _item(text: str) -> str:
    """One wrapped item of a list."""
    return textwrap.fill(text, 118, initial_indent="* ", subsequent_indent="  ", break_on_hyphens=False)


def _bold(entry: Entry) -> str:
    return f"**{markdown_text(entry.name)}**"


def _kept(entry: Entry) -> str:
    return interval_text(entry.value("retention"))


def _retention(results: Results) -> list[str]:
    """Tables of retention by budget: methods within each budget, then the others."""
    with_budget = [entry for entry in results.entries if entry.retain is not None]
    more = {entry.name for entry in with_budget if exceeds(entry)}
    parts = []
    for words, over in zip(_GROUPS, (False, True), strict=True):
        names = [name for name in dict.fromkeys(entry.name for entry in with_budget) if (name in more) == over]
        if names:
            made = table(results.only(names))
            parts += [words, to_markdown(unmarked(made) if over else made).rstrip()]
    return parts


def _conditions(results: Results, source: str, command: str) -> str:
    run: dict[str, Any] = results.conditions[0]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return "\n\n".join(
        [
            f"Made by\n\n    {command}\n\nfrom [`{source}`](../{source}); this page and its figures by `make figures`.",
            paragraph(
                f"{results.questions:,} questions of {len(results.tasks)} tasks about {results.pictures:,} pictures "
                f"({', '.join(run['tasks'])}; seed {run['seed']}, {run['size']} × {run['size']} pixels). Model "
                f"`{run['model']}` (SHA-256 `{str(run['model_sha256'])[:12]}…`), {run['dtype']} on {run['device']}, "
                f"greedy decoding, tokens really dropped. {versions}."
            ),
            paragraph(
                "Brackets hold 95 % intervals by a paired bootstrap over whole pictures. “Sure” says whether the "
                "interval of the difference to no pruning excludes 0. Nothing is corrected for the number of "
                "comparisons: the best of many is partly the luckiest, and two methods whose intervals overlap may not "
                "differ. A second training of the model is not covered: **the ranking is a finding about this one "
                "small model, not about others.**"
            ),
        ]
    )


def _figure(board: str, name: str) -> str:
    return f"![{FIGURES[name]}](figures/{board}-{name}.png)"


def _by_budget(results: Results) -> list[str]:
    """Tables for each budget, in the order of retention at the budget nearest to 10 %."""
    order = [entry.name for entry in best_first(results.at(results.budget()))]
    parts = []
    for retain in results.budgets:
        entries = {entry.name: entry for entry in results.at(retain)}
        names = [*(name for name in order if name in entries), *(name for name in entries if name not in order)]
        parts += [f"### Kept {budget_text(retain)}"]
        for words, group in zip(_GROUPS, _groups([entries[name] for name in names]), strict=True):
            parts += [words, _rows(group)] if group else []
    return parts


def _rows(entries: Sequence[Entry]) -> str:
    rows = [
        [
            markdown_text(entry.name), f"{entry.layer_mean:.0f}", f"{entry.visual_tokens:.0f}",
            interval_text(entry.value("retention")), interval_text(entry.value("score")),
            interval_text(entry.value("difference"), signed=True), "yes" if entry.differs() else "no",
        ]
        for entry in entries
    ]  # fmt: skip
    return pipe_table(_SCORE_COLUMNS, rows).rstrip()


def _own(results: Results) -> list[str]:
    entries = best_first(results.at(None))
    note = paragraph(
        "These take no budget: what they keep follows from the picture, the question, or settings of their own. "
        "Compare them by visual tokens per layer."
    )
    return ["## Methods with a budget of their own", note, _rows(entries)] if entries else []


def _draws(results: Results) -> list[str]:
    """Lines with the scores of every draw, for methods that choose at random."""
    rows = [
        [
            markdown_text(entry.name), budget_text(entry.retain), number(entry.value("score").value),
            ", ".join(number(score) for score in entry.drawn), number(max(entry.drawn) - min(entry.drawn)),
        ]
        for entry in results.entries
        if entry.drawn
    ]  # fmt: skip
    if not rows:
        return []
    note = paragraph(
        "All numbers of a method that chooses at random are means over its draws, which are made anew for every group "
        "of pictures. Scores of each draw, and how far the highest is from the lowest:"
    )
    header = ("method", "kept", "mean score", "draws", "range")
    return ["## Draws of methods that choose at random", note, pipe_table(header, rows).rstrip()]


def _left_out(results: Results) -> list[str]:
    if not results.left_out:
        return []
    reasons: dict[str, list[str]] = {}
    for label, reason in results.left_out.items():
        reasons.setdefault(reason, []).append(label)
    return ["## Left out", "\n".join(_item(f"{_names(labels, results)}: {why}") for why, labels in reasons.items())]


def _names(labels: Sequence[str], results: Results) -> str:
    """Names of left-out methods, with budgets where only some of a method's are out."""
    found: dict[str, list[str]] = {}
    for label in labels:
        name, _, retain = label.partition("@")
        found.setdefault(name, []).extend([retain] if retain else [])
    whole = len(results.budgets)
    return ", ".join(
        f"`{name}`" if len(retains) in (0, whole) else f"`{name}` at {' and '.join(retains)}"
        for name, retains in found.items()
    )
