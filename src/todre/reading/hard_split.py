"""Tables of the hard split: methods on the questions that a small picture fails."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from todre.errors import InvalidValueError
from todre.reading.formats import TOKENS, interval_text, latex_text, markdown_text, number, pipe_table
from todre.reading.results import Interval, Results
from todre.reading.tables import budget_text

GROUPS = ("hard", "simple")
FIELDS = (
    "control", "budget", "control_visual_tokens_mean_over_layers", "group", "questions", "pictures", "method", "draws",
    "visual_tokens_mean_over_layers", "value", "low", "high",
)  # fmt: skip


def splits_of(results: Results, retain: float | int | None = None) -> tuple[dict[str, Any], ...]:
    """The splits among results, of one budget if `retain` is set.

    Raises:
        InvalidValueError: there is none, or none of this budget.
    """
    if not results.splits:
        raise InvalidValueError(
            "There is no hard split among the results; run `todre eval` with downsample among --methods, at a budget "
            "that it can meet."
        )
    found = tuple(split for split in results.splits if retain is None or split["retain"] == retain)
    if retain is not None and not found:
        known = ", ".join(f"{split['retain']:g}" for split in results.splits)
        raise InvalidValueError(f"There is no hard split at the budget {retain:g}; use one of {known}.")
    return found


def to_markdown(splits: Sequence[dict[str, Any]], intervals: bool = True) -> str:
    """A paragraph and a Markdown table in points of a hundred for each split."""
    parts = []
    for split in splits:
        rows = [
            [markdown_text(row["name"]), f"{row['layer_mean']:.0f}", *group_cells(row, intervals)]
            for row in split["rows"]
        ]
        parts.append(f"{sentence(split)}\n\n{pipe_table(['method', TOKENS, *headings(split)], rows)}")
    return "\n".join(parts)


def to_latex(splits: Sequence[dict[str, Any]], intervals: bool = True) -> str:
    """A comment and a LaTeX `tabular` in points of a hundred for each split."""
    parts = []
    for split in splits:
        head = " & ".join(map(latex_text, ["method", TOKENS, *headings(split)]))
        body = [
            " & ".join(map(latex_text, [row["name"], f"{row['layer_mean']:.0f}", *group_cells(row, intervals)]))
            + r" \\"
            for row in split["rows"]
        ]
        lines = [
            f"% {sentence(split)}", "% needs \\usepackage{booktabs}", r"\begin{tabular}{lrrr}", r"\toprule",
            head + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
        ]  # fmt: skip
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def to_csv(splits: Sequence[dict[str, Any]], intervals: bool = True) -> str:
    """CSV with a line for each method and group: fractions with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)
    for split in splits:
        for row in split["rows"]:
            for group in GROUPS:
                size, share = split["groups"][group], row[group]
                numbers = ["" if share[key] is None else repr(share[key]) for key in ("value", "low", "high")]
                budget = "" if split["retain"] is None else repr(split["retain"])
                writer.writerow(
                    [
                        split["control"], budget, repr(split["layer_mean"]), group,
                        size["questions"], size["pictures"], row["name"], row["draws"], repr(row["layer_mean"]),
                        *numbers,
                    ]
                )  # fmt: skip
    return stream.getvalue()


WRITERS: dict[str, Callable[[Sequence[dict[str, Any]], bool], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}
"""Writers by the name of the format."""


def sentence(split: dict[str, Any]) -> str:
    """What was split, and how many questions are hard and simple."""
    budget = "its own budget" if split["retain"] is None else f"a budget of {budget_text(split['retain'])}"
    return (
        f"Of {split['questions']} questions the unpruned model answers {split['right_without_pruning']} right. With "
        f"{split['control']} at {budget} ({number_of(split['layer_mean'])} visual tokens) it answers "
        f"{split['groups']['hard']['questions']} of these wrong, the hard ones, and "
        f"{split['groups']['simple']['questions']} right, the simple ones. {split['statement']}"
    )


def number_of(tokens: float | None) -> str:
    """Text of a mean number of tokens."""
    return number(None) if tokens is None else f"{tokens:.0f}"


def headings(split: dict[str, Any]) -> list[str]:
    """Headings of the two groups, with their sizes."""
    return [
        f"{group} ({split['groups'][group]['questions']} questions, {split['groups'][group]['pictures']} pictures)"
        for group in GROUPS
    ]


def group_cells(row: dict[str, Any], intervals: bool = True) -> list[str]:
    """Texts of a row's two numbers, in points of a hundred."""
    return [interval_text(Interval.of(row[group]), intervals=intervals) for group in GROUPS]
