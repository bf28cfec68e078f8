"""Tables of docs/third-party.md in Markdown, from results/third-party.json, by name.

python benchmarks/third_party_tables.py NAME
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError, TodreError
from todre.reading.formats import interval_text, pipe_table
from todre.reading.results import Interval

RESULT = Path(__file__).resolve().parents[1] / "results" / "third-party.json"
ASKED = (0.10, 0.02)
"""Budgets of the tables that have a column for each layer."""


def read() -> Any:
    """The committed result."""
    return json.loads(RESULT.read_text(encoding="utf-8"))


def _saliency_vit() -> Any:
    """The result's part about the saliency ViT.

    Raises:
        InvalidValueError: the run had no cut-outs, so there is none.
    """
    found = read()["saliency_vit"]
    if found is None:
        raise InvalidValueError(
            f"{RESULT.name} says nothing about the saliency ViT, since its run had no cut-outs; "
            "run benchmarks/third_party/run.py where it finds those of tuxpaint-stamps-default."
        )
    return found


def shown(numbers: Mapping[str, float], name: str = "score", signed: bool = False, bold: bool = False) -> str:
    """Text of a number and its interval in points; bold, if asked, where a difference excludes 0."""
    text = interval_text(Interval(numbers[name], numbers["low"], numbers["high"]), signed).replace("-", "−")
    return f"**{text}**" if bold and (numbers["low"] or 0) * (numbers["high"] or 0) > 0 else text


def percent(share: float) -> str:
    """Text of a share."""
    return f"{100 * share:g} %"


def by_rule(rows: Sequence[Mapping[str, Any]], column: str, measure: str, low_first: bool = False) -> str:
    """A table of rules by the values of `column`, the best mean first."""
    columns = sorted({row[column] for row in rows}, reverse=column == "share")
    found: dict[str, dict[Any, Mapping[str, float]]] = {}
    for row in rows:
        found.setdefault(row["rule"], {})[row[column]] = row[measure]
    total = {rule: sum(cell["score"] or 0 for cell in cells.values()) for rule, cells in found.items()}
    order = sorted(found, key=lambda rule: total[rule], reverse=not low_first)
    headings = [percent(each) if column == "share" else f"layer {each}" for each in columns]
    lines = [[rule, *(shown(found[rule][each]) for each in columns)] for rule in order]
    return pipe_table(["rule", *headings], lines)


def conditions() -> str:
    """What was measured, on what; the saliency ViT only where it was measured."""
    document = read()
    latex, vit, where = document["latex"], document["saliency_vit"], document["conditions"]
    checks = latex["checks"]
    scenes: list[list[str]] = []
    minutes, packages = ["minutes: formulas", f"{where['minutes']['latex']:g}"], latex["package"]
    if vit is not None:
        scenes = [["scenes, objects, different cut-outs", f"{vit['scenes']}, {vit['objects']}, {vit['cutouts']}"]]
        minutes = [f"{minutes[0]}, scenes", f"{minutes[1]}, {where['minutes']['features']:g}"]
        packages += f", {vit['package']}"
    lines = [
        ["formulas, in sets", f"{latex['formulas']}, in {latex['sets']}"],
        ["unpruned model: read right", shown(latex["unpruned"]["right"])],
        ["unpruned model: edit similarity to the true formula", shown(latex["unpruned"]["similarity_to_truth"])],
        ["unpruned texts that ended by themselves", f"{latex['unpruned']['ended']} of {latex['formulas']}"],
        ["mean length of an unpruned text, in tokens of one character", f"{latex['unpruned']['characters']:.0f}"],
        ["our decoding gave the package's text", f"{checks['same_texts']} of {checks['pictures']} compared"],
        ["rules of `todre.select` kept what the methods keep", checks["rules_as_methods"]],
        *scenes,
        ["intervals", where["intervals"]],
        ["processor", f"{where['cpu']}, {where['workers']} processes of one thread, {where['dtype']}"],
        minutes,
        ["packages", packages],
    ]
    return pipe_table(["", ""], lines)


def agreement() -> str:
    """Edit similarity to the unpruned text."""
    return by_rule(read()["latex"]["rows"], "share", "similarity")


def exact() -> str:
    """Share of texts equal to the unpruned one."""
    return by_rule(read()["latex"]["rows"], "share", "exact")


def right() -> str:
    """Share still read right of what the unpruned model reads right."""
    return by_rule(read()["latex"]["rows"], "share", "still_right")


def differences() -> str:
    """Paired differences of rules on the formulas, in points."""
    latex = read()["latex"]
    lines = []
    for rule in ("todre-v1", "todre", "divprune", "top-k", "uniform"):
        rows = {row["share"]: row["minus_random"] for row in latex["rows"] if row["rule"] == rule}
        for measure, text in (("similarity", "similarity"), ("still_right", "still right")):
            cells = [shown(rows[share][measure], "difference", True, True) for share in sorted(rows, reverse=True)]
            lines.append([f"{rule} − random: {text}", *cells])
    pairs = dict.fromkeys((pair["first"], pair["second"]) for pair in latex["pairs"])
    for first, second in pairs:
        rows = {pair["share"]: pair for pair in latex["pairs"] if (pair["first"], pair["second"]) == (first, second)}
        for measure, text in (("similarity", "similarity"), ("still_right", "still right")):
            cells = [shown(rows[share][measure], "difference", True, True) for share in sorted(rows, reverse=True)]
            lines.append([f"{first} − {second}: {text}", *cells])
    shares = sorted({row["share"] for row in latex["rows"]}, reverse=True)
    return pipe_table(["", *map(percent, shares)], lines)


def ranks() -> str:
    """Effective rank of the saliency ViT's features by layer."""
    found = _saliency_vit()["effective_rank_by_layer"]
    header = ["layers run", *(str(layer) for layer in range(1, len(found) + 1))]
    return pipe_table(header, [["effective rank", *(f"{rank:.0f}" for rank in found)]])


def _by_layer(measure: str, share: float, low_first: bool = False) -> str:
    rows = [row for row in _saliency_vit()["rows"] if row["share"] == share]
    return by_rule(rows, "layer", measure, low_first)


def objects_10() -> str:
    """Objects hit with a tenth kept, by layer."""
    return _by_layer("hit", 0.10)


def objects_2() -> str:
    """Objects hit with a fiftieth kept, by layer."""
    return _by_layer("hit", 0.02)


def nearest() -> str:
    """Error of each token's nearest kept one with a tenth kept, by layer."""
    return _by_layer("nearest", 0.10, low_first=True)


def linear() -> str:
    """Error outside the span of the kept tokens with a tenth kept, by layer."""
    return _by_layer("linear", 0.10, low_first=True)


def object_differences() -> str:
    """Paired differences of rules on the scenes, in points of objects hit."""
    vit = _saliency_vit()
    layers = sorted({row["layer"] for row in vit["rows"]})
    lines = []
    for share in ASKED:
        for rule in ("todre-v1", "todre", "top-k"):
            rows = {row["layer"]: row for row in vit["rows"] if row["rule"] == rule and row["share"] == share}
            cells = [shown(rows[layer]["minus_random"]["hit"], "difference", True, True) for layer in layers]
            lines.append([f"{rule} − random, {percent(share)}", *cells])
        pairs = [pair for pair in vit["pairs"] if pair["share"] == share]
        for first, second in dict.fromkeys((pair["first"], pair["second"]) for pair in pairs):
            mine = {p["layer"]: p["hit"] for p in pairs if (p["first"], p["second"]) == (first, second)}
            cells = [shown(mine[layer], "difference", True, True) for layer in layers]
            lines.append([f"{first} − {second}, {percent(share)}", *cells])
    return pipe_table(["", *(f"layer {layer}" for layer in layers)], lines)


def left_out() -> str:
    """Methods without a row, and why."""
    lines = [[name, why] for name, why in read()["left_out"].items()]
    return pipe_table(["method", "why it has no row"], lines).replace("---:", "---")


TABLES: dict[str, Callable[[], str]] = {
    made.__name__.replace("_", "-"): made
    for made in (conditions, agreement, exact, right, differences, ranks, objects_10, objects_2, object_differences,
                 nearest, linear, left_out)
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Print the table that is named."""
    names = sys.argv[1:] if arguments is None else arguments
    if len(names) != 1 or names[0] not in TABLES:
        sys.stderr.write(f"error: name one of {', '.join(TABLES)}.\n")
        return 2
    try:
        table = TABLES[names[0]]()
    except TodreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
