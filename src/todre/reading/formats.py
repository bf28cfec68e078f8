"""Writers of tables: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from todre.reading.results import Interval
from todre.reading.tables import OWN, Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip
CSV_FIELDS = (
    "method", "budget", "task", "measure", "value", "low", "high", "against", "differs", "draws", "visual_tokens",
    "visual_tokens_mean_over_layers",
)  # fmt: skip


TOKENS = "visual tokens per layer"
"""Heading of the column beside the method's name."""


def number(value: float | None, signed: bool = False) -> str:
    """Text of a share in points of a hundred with one decimal; a dash for None."""
    if value is None:
        return "–"
    text = format(100 * value, "+.1f" if signed else ".1f")
    return text.removeprefix("-") if float(text) == 0 and not signed else text


def interval_text(interval: Interval, signed: bool = False, intervals: bool = True) -> str:
    """Text of a number and its interval in points of 100: `79.6 [78.1, 81.1]`."""
    text = number(interval.value, signed)
    if not intervals or interval.low is None or interval.high is None or interval.value is None:
        return text
    return f"{text} [{number(interval.low, signed)}, {number(interval.high, signed)}]"


def pipe_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column left-aligned; the caller escapes text."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def markdown_text(text: str) -> str:
    """Text escaped for a Markdown table."""
    for sign in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(sign, "\\" + sign)
    return text


def latex_text(text: str) -> str:
    """Text escaped for LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in text).replace("–", "--")


def tokens_text(cells: Sequence[Cell]) -> str:
    """Text of a row's visual tokens per decoder layer: one mean, or one a budget.

    Returns:
        `744`, or `372 / 186 / 74`, with a dash where the method was not run.
    """
    if len({id(cell.entry) for cell in cells}) == 1:
        cells = cells[:1]
    return " / ".join("–" if cell.entry is None else f"{cell.entry.layer_mean:.0f}" for cell in cells)


def heading(column: str) -> str:
    """Heading of a column of numbers."""
    return "own budget" if column == OWN else column


def cell_text(cell: Cell, measure: str, intervals: bool = True) -> str:
    """Text of a cell in points of a hundred; empty where the method was not run."""
    return "" if cell.entry is None else interval_text(cell.interval, measure == "difference", intervals)


def to_markdown(table: Table, intervals: bool = True) -> str:
    """A Markdown table in points of a hundred; the best of each column is bold."""
    rows = [
        [markdown_text(name), tokens_text(cells), *(_marked(cell, table.measure, intervals) for cell in cells)]
        for name, cells in table.rows
    ]
    return pipe_table(["method", TOKENS, *(markdown_text(heading(column)) for column in table.columns)], rows)


def to_latex(table: Table, intervals: bool = True) -> str:
    """A LaTeX `tabular` in points of a hundred; the best of each column is bold."""

    signed = table.measure == "difference"

    def number_text(cell: Cell) -> str:
        if cell.entry is None:
            return ""
        text, inside = _latex_number(cell.interval.value, signed), cell.interval
        text = rf"\textbf{{{text}}}" if cell.best else text
        if not intervals or inside.low is None or inside.high is None:
            return text
        edges = ", ".join(_latex_number(edge, signed) for edge in (inside.low, inside.high))
        return rf"{text} {{\scriptsize [{edges}]}}"

    head = " & ".join(["method", TOKENS, *(latex_text(heading(column)) for column in table.columns)])
    body = [
        " & ".join([latex_text(name), latex_text(tokens_text(cells)), *map(number_text, cells)]) + r" \\"
        for name, cells in table.rows
    ]
    lines = [
        "% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * (1 + len(table.columns))}}}", r"\toprule",
        head + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def to_csv(table: Table, intervals: bool = True) -> str:
    """CSV with a line for each number: fractions with all digits, and intervals.

    `differs` says whether the interval of the difference from the method `against` leaves 0 out.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for name, cells in table.rows:
        for cell in _once(cells):
            entry, inside = cell.entry, cell.interval
            if entry is None or inside.value is None:
                continue
            budget = "" if entry.retain is None else repr(entry.retain)
            numbers = ("" if value is None else repr(value) for value in (inside.value, inside.low, inside.high))
            known = entry.value("difference", cell.task).low is not None
            beside = (table.against, str(cell.differs).lower()) if known else ("", "")
            writer.writerow(
                [
                    name.removesuffix(f" ({OWN} budget)"), budget, cell.task, table.measure, *numbers, *beside,
                    entry.draws, repr(entry.visual_tokens), repr(entry.layer_mean),
                ]
            )  # fmt: skip
    return stream.getvalue()


WRITERS: dict[str, Callable[[Table, bool], str]] = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}
"""Writers by the name of the format."""
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex"}
"""Formats by the file's suffix."""


def _latex_number(value: float | None, signed: bool) -> str:
    """Text of a number for LaTeX, with a true minus sign."""
    return number(value, signed).replace("-", "$-$").replace("–", "--")


def _once(cells: Sequence[Cell]) -> list[Cell]:
    """Cells without repeats, as no pruning has the same cell in every column."""
    return list({(id(cell.entry), cell.task): cell for cell in cells}.values())


def _marked(cell: Cell, measure: str, intervals: bool) -> str:
    text = cell_text(cell, measure, intervals)
    return f"**{text}**" if cell.best else text
