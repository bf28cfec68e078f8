"""Tables of docs/stage2.md in Markdown, from a committed study of stage 2.

python benchmarks/stage2_tables.py TABLE RESULT         RESULT is the name of a document in results/, without its suffix
python benchmarks/stage2_tables.py seeds RESULT ...     what several models say, side by side
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from todre.published import AVERAGE
from todre.reading.formats import interval_text, markdown_text, pipe_table
from todre.reading.results import Interval

RESULTS = Path(__file__).resolve().parents[1] / "results"
PREFIX = "scenes-"
KINDS = {
    "drop": "picture leaves after it",
    "delete": "later layers skipped",
    "hide": "text does not see it in it",
    "skip": "it is skipped",
}
SPANS = {"first_token": "first token", "decode_per_token": "each token after it", "total": "whole answer"}
Document = dict[str, Any]


def points(numbers: dict[str, Any] | None, signed: bool = False) -> str:
    """Text of a value and its interval in points, with a true minus sign; empty for None."""
    return "" if numbers is None else interval_text(Interval.of(numbers), signed).replace("-", "−")


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def tasks_of(document: Document) -> list[str]:
    return list(document["tasks"])


def short(task: str) -> str:
    return task.removeprefix(PREFIX)


def layers(document: Document) -> str:
    """Accuracy under each change of the layers, and attention to the picture."""
    curves = {kind: {each["layer"]: each for each in rows} for kind, rows in document["curves"].items() if rows}
    attention = {row["layer"]: row for row in document["ratios"][0]["layers"]}
    lines = []
    for layer in sorted(set().union(*curves.values())):
        cells = [points(curves[kind][layer]["score"]) if layer in curves[kind] else "" for kind in curves]
        row = attention[layer]
        lines.append([str(layer), share(row["text"]["value"]), share(row["last"]["value"]), *cells])
    header = ["layer", "text → picture, %", "last token → picture, %", *(KINDS[kind] for kind in curves)]
    return pipe_table(header, lines)


def drops(document: Document) -> str:
    """Accuracy by task when the picture leaves after a layer."""
    tasks = tasks_of(document)
    ends = {"blind": document["blind"], "never": document["whole"]}
    rows = {str(each["layer"]): each["score"] for each in document["curves"]["drop"]}
    rows = {"blind": ends["blind"], **rows, "never": ends["never"]}
    lines = [[name, *(share(row["tasks"][task]["value"]) for task in tasks), points(row)] for name, row in rows.items()]
    return pipe_table(["picture leaves after", *map(short, tasks), "all"], lines)


def ratios(document: Document) -> str:
    """Text → picture after each layer: mean, range and share below each threshold."""
    lines = []
    for row in document["ratios"][0]["layers"]:
        cells = [str(row["layer"])]
        for which in ("text", "last"):
            mine = row[which]
            cells += [share(mine["value"]), f"{share(mine['least'])}–{share(mine['most'])}"]
            cells += [share(value) for value in mine["below"].values()]
        lines.append(cells)
    below = [f"< {tau}" for tau in document["ratios"][0]["layers"][0]["text"]["below"]]
    header = ["layer", "all text", "range", *below, "last token", "range", *below]
    return pipe_table(header, lines)


def by_task(document: Document) -> str:
    """Text → picture after each layer, by task."""
    tasks = tasks_of(document)
    lines = [
        [
            str(row["layer"]),
            *(share(row["text"]["tasks"][task]["value"]) for task in tasks),
            share(row["text"]["value"]),
        ]
        for row in document["ratios"][0]["layers"]
    ]
    return pipe_table(["layer", *map(short, tasks), "all"], lines)


def rules(document: Document) -> str:
    """How often stage 2 fires at each threshold, where, and what it costs."""
    return _rules([row for row in document["stage2"] if row["rule"] == "printed"])


def last_token(document: Document) -> str:
    """The same where the last text token's attention decides."""
    return _rules([row for row in document["stage2"] if row["rule"] == "last"])


def later_layers(document: Document) -> str:
    """The same where attention has to stay low after every later layer."""
    return _rules([row for row in document["stage2"] if row["rule"] == "later"])


def _rules(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        name = {"todre": "v2", "todre-v1": "v1"}[row["version"]]
        before = "alone" if row["retain"] is None else f"after stage 1, {100 * row['retain']:g} %"
        where = ", ".join(f"{count} at {layer}" for layer, count in row["by_layer"].items())
        threshold = f"**{row['threshold']:g}**" if row["printed"] else f"{row['threshold']:g}"
        lines.append([
            f"{name} {before}", threshold, share(row["fired"]["value"]), where, points(row["score"]),
            points(row["against_without"], signed=True), f"{row['layer_mean']:.0f}",
        ])  # fmt: skip
    header = [
        "stage 2",
        "τ",
        "fires, %",
        "questions by layer",
        "accuracy",
        "against without",
        "visual tokens per layer",
    ]
    return pipe_table(header, lines)


def costs(document: Document) -> str:
    """What stage 2 costs at the printed thresholds, by task."""
    tasks = tasks_of(document)
    lines = []
    for row in document["stage2"]:
        if row["printed"]:
            name = {"todre": "v2", "todre-v1": "v1"}[row["version"]]
            before = "alone" if row["retain"] is None else f"{100 * row['retain']:g} %"
            cells = [points(row["against_without"]["tasks"][task], signed=True) for task in tasks]
            lines.append([f"{name} {before}", *cells])
    return pipe_table(["points", *map(short, tasks)], lines)


def beside(row: Document) -> tuple[str, str]:
    """Ending of a version's name in results, and words, for the same stage 1 as a named method has."""
    own = row["fields"].get("retain") if 1 in row["fields"].get("stages", ()) else None
    return (" stage 2", "alone") if own is None else (f"@{own:g}", f"{100 * own:g} %")


def safer(document: Document) -> str:
    """Methods that were named, against version 1 at the same threshold, by the tasks that it loses."""
    lines = []
    for row in document["methods"]:
        suffix, after = beside(row)
        alike = row["against_at_its_threshold"].get(f"todre-v1{suffix}")
        if alike is None:
            continue
        names = [name for name in tasks_of(document) if short(name) in ("digit", "word")]
        cells = [points(each, signed=True) for each in (alike, *(alike["tasks"][name] for name in names))]
        name = row["name"].split(":")[0]
        lines.append([name, f"{row['fields']['threshold']:g}", after, points(row["score"]), *cells])
    header = ["method", "τ", "stage 1", "accuracy", "− v1 at this τ", "digits − v1", "words − v1"]
    return pipe_table(header, lines)


def methods(document: Document) -> str:
    """Methods that were named, against no pruning and against v1's and v2's stage 2.

    Brackets behind a difference name the version's row: its stage 2 alone, or after stage 1 at a budget.
    """
    lines = []
    for row in document["methods"]:
        suffix, after = beside(row)
        versions = [row["against"].get(f"{version}{suffix}") for version in ("todre-v1", "todre")]
        lines.append(
            [
                markdown_text(row["name"]),
                f"{row['layer_mean']:.0f}",
                share(row["dropped"]["value"]),
                points(row["score"]),
                points(row["against_whole"], signed=True),
                *(f"{points(each, signed=True)} ({after})" if each else "" for each in versions),
            ]
        )
    header = ["method", "visual tokens per layer", "drops all, %", "accuracy", "− no pruning", "− v1", "− v2"]
    return pipe_table(header, lines)


def deep(document: Document) -> str:
    """Rankings against random tokens in deep layers."""
    lines = [
        [
            f"{row['ranking']}", str(row["layer"]), f"{100 * row['retain']:g} %", str(row["score"]["n"]),
            points(row["score"]),
            points(row["against_whole"], signed=True), points(row.get("against_random"), signed=True),
        ]
        for row in document["deep"]
    ]  # fmt: skip
    return pipe_table(["ranking", "after layer", "kept", "questions", "accuracy", "− no pruning", "− random"], lines)


def seeds(documents: list[Document]) -> str:
    """No picture, a picture that leaves early, and stage 2 as printed, in several models."""
    rows = [_seed(document) for document in documents]
    models = [document["conditions"]["model"]["id"] for document in documents]
    header = ["", *(f"{model}, {what}" for model in models for what in ("accuracy", "against without"))]
    return pipe_table(header, [[name, *(cell for row in rows for cell in row.get(name, ("", "")))] for name in rows[0]])


def _seed(document: Document) -> dict[str, tuple[str, str]]:
    """Of each setting, the accuracy and the paired difference to the same without it."""
    made = {"no pruning": (points(document["whole"]), ""), "blind": (points(document["blind"]), "")}
    for each in document["curves"]["drop"]:
        if each["layer"] in (15, 19, 20, 22, 24, 26):
            made[f"picture leaves after {each['layer']}"] = (
                points(each["score"]),
                points(each["against_whole"], signed=True),
            )
    for row in document["stage2"]:
        if row["rule"] == "printed" and row["threshold"] in (0.03, 0.1):
            version = "v1" if row["version"] == "todre-v1" else "v2"
            after = "alone" if row["retain"] is None else f"after stage 1, {100 * row['retain']:g} %"
            printed = ", as printed" if row["printed"] else ""
            name = f"stage 2 of {version} {after}, τ {row['threshold']:g}{printed}"
            made[name] = (points(row["score"]), points(row["against_without"], signed=True))
    return made


def times(document: Document) -> str:
    """Time with stage 2 over time without, from a benchmark of `todre bench`."""
    lines = []
    for row in document["rows"]:
        if row["kind"] == "oracle":
            continue
        ratio = row["ratio_to_none"]["total"]
        over = "" if row["kind"] == "none" else f"{ratio['p50']:.3f} [{ratio['p20']:.3f}, {ratio['p80']:.3f}]"
        name = "no pruning" if row["kind"] == "none" else markdown_text(row["subject"])
        lines.append([name, str(row["cell"]["new_tokens"]), f"{row['ms']['total']['p50'] / 1000:.2f} s", over])
    return pipe_table(["", "tokens of the answer", "time", "over no pruning, paired"], lines)


def reproduced(document: Document) -> str:
    """A table of the paper beside ours, from `todre reproduce`: shares of no pruning in percent."""
    measured = [name for name, where in document["benchmarks"].items() if where]
    lines = []
    for row in document["rows"]:
        average, shares = row["shares"][AVERAGE], [row["shares"][name] for name in measured]
        around = average.get("interval")
        edges = "" if around is None else f" [{around['low']:.1f}, {around['high']:.1f}]"
        here = [_paired(each["published"], each["measured"]) for each in shares]
        lines.append([row["label"], f"{average['published']:.1f}", f"{average['measured']:.1f}{edges}", *here])
    names = [f"{name} → {document['benchmarks'][name].partition(',')[0]}" for name in measured]
    return pipe_table(["", "average, paper", "average, here", *names], lines)


def _paired(paper: float | None, here: float | None) -> str:
    return " → ".join("–" if value is None else f"{value:.1f}" for value in (paper, here))


TABLES: dict[str, Callable[[Document], str]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        layers,
        drops,
        ratios,
        by_task,
        rules,
        last_token,
        later_layers,
        costs,
        safer,
        methods,
        deep,
        times,
        reproduced,
    )
}


def main(arguments: list[str] | None = None) -> int:
    names = sys.argv[1:] if arguments is None else arguments
    several = names[:1] == [seeds.__name__]
    if (len(names) < 2) if several else (len(names) != 2 or names[0] not in TABLES):
        known = ", ".join((*TABLES, seeds.__name__))
        sys.stderr.write(f"error: name one of {known}, and a document in results/ ({seeds.__name__}: or several).\n")
        return 2
    documents = [json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names[1:]]
    sys.stdout.write(seeds(documents) if several else TABLES[names[0]](documents[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
