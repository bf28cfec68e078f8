"""The leaderboard's page, made from the document of `todre eval` alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from todre.reading.choice import RANDOM, best_first
from todre.reading.formats import interval_text, markdown_text, number, pipe_table, to_markdown
from todre.reading.result_pages import paragraph
from todre.reading.results import Entry, Results
from todre.reading.tables import budget_text, table

_SCORE_COLUMNS = ("method", "retention", "score", "difference", "sure", "visual tokens", "per layer")
FIGURES = {
    "retention": "retention against visual tokens kept",
    "pareto": "retention against visual tokens per decoder layer",
    "heatmap": "retention by method and task",
    "radar": "retention by task",
}
"""The figures that the page shows, by the end of the file's name, and what they are."""


def page(results: Results, source: str, command: str) -> str:
    """Markdown: conditions, what is best at each budget, and every method's numbers.

    Args:
        results: what was read from one document.
        source: the document's path in the repository, such as `results/leaderboard.json`.
        command: the one that made it.
    """
    parts = [
        "# Leaderboard: every method on the shipped model",
        _conditions(results, source, command),
        "## What it says",
        "\n".join(_item(sentence) for sentence in findings(results)),
        _figure("retention"),
        _figure("pareto"),
        "## Retention by budget",
        paragraph(
            "In percent of no pruning's score, with 95 % intervals, sorted by the budget nearest to 10 %; the highest "
            "of each column is bold. A budget is what each method counts by itself: methods that drop inside the "
            "decoder run their first layers on all visual tokens, which the column “per layer” below shows."
        ),
        to_markdown(table(_with_budget(results))).rstrip(),
        *_by_budget(results),
        *_own(results),
        *_draws(results),
        f"## By task\n\n{_figure('heatmap')}\n\n{_figure('radar')}",
        *_left_out(results),
    ]
    return "\n\n".join(parts) + "\n"


def findings(results: Results) -> list[str]:
    """At each budget: the best, how many are not told apart from no pruning, and how many from random choice."""
    score = interval_text(results.none[0].value("score"))
    sentences = [f"Without pruning the model scores {score}."]
    return [*sentences, *(_finding(best_first(results.at(retain))) for retain in results.budgets)]


def _finding(order: Sequence[Entry]) -> str:
    """What one budget shows; `order` is from the best to the worst."""
    top, lean = order[0], _lean(order)
    text = f"Kept {budget_text(top.retain)}: {_bold(top)} retains most, {_retention(top)} %, with {top.layer_mean:.0f} "
    text += "visual tokens per layer."
    cheap = [entry for entry in order if entry.layer_mean <= 1.01 * lean]
    if cheap[0] is not top:
        text += f" Of those with no more than {lean:.0f} per layer it is {_bold(cheap[0])}, {_retention(cheap[0])} %."
    level = sum(not entry.differs() for entry in order)
    text += f" {level} of {len(order)} methods are not told apart from no pruning."
    worse = _not_above_random(order)
    if worse is not None:
        text += f" {worse} retain no more than random choice does in the mean."
    return text


def _lean(order: Sequence[Entry]) -> float:
    """Tokens per layer of random choice before the decoder; without it, the median method's."""
    means = sorted(entry.layer_mean for entry in order)
    return next((entry.layer_mean for entry in order if entry.name == RANDOM), means[len(means) // 2])


def _not_above_random(order: Sequence[Entry]) -> int | None:
    """How many methods have a retention of at most random's; None where random was not run."""
    places = [place for place, entry in enumerate(order) if entry.name == RANDOM]
    return len(order) - places[0] - 1 if places else None


def _item(text: str) -> str:
    """A line of a list, wrapped."""
    return textwrap.fill(text, 118, initial_indent="* ", subsequent_indent="  ", break_on_hyphens=False)


def _bold(entry: Entry) -> str:
    return f"**{markdown_text(entry.name)}**"


def _retention(entry: Entry) -> str:
    return interval_text(entry.value("retention"))


def _with_budget(results: Results) -> Results:
    return results.only([entry.name for entry in results.entries if entry.retain is not None])


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


def _figure(name: str) -> str:
    return f"![{FIGURES[name]}](figures/leaderboard-{name}.png)"


def _by_budget(results: Results) -> list[str]:
    """A table for each budget, in one order: by retention at the budget nearest to 10 %."""
    order = [entry.name for entry in best_first(results.at(results.budget()))]
    parts = []
    for retain in results.budgets:
        entries = {entry.name: entry for entry in results.at(retain)}
        names = [*(name for name in order if name in entries), *(name for name in entries if name not in order)]
        parts += [f"### Kept {budget_text(retain)}", _rows([entries[name] for name in names])]
    return parts


def _rows(entries: Sequence[Entry]) -> str:
    rows = [
        [
            markdown_text(entry.name), interval_text(entry.value("retention")), interval_text(entry.value("score")),
            interval_text(entry.value("difference"), signed=True), "yes" if entry.differs() else "no",
            f"{entry.visual_tokens:.0f}", f"{entry.layer_mean:.0f}",
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
    """The score of every draw of methods that choose at random."""
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
    """Methods by name, with the budgets where not all are meant."""
    found: dict[str, list[str]] = {}
    for label in labels:
        name, _, retain = label.partition("@")
        found.setdefault(name, []).extend([retain] if retain else [])
    whole = len(results.budgets)
    return ", ".join(
        f"`{name}`" if len(retains) in (0, whole) else f"`{name}` at {' and '.join(retains)}"
        for name, retains in found.items()
    )
