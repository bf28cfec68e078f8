"""Tables of README.md and docs/ in Markdown, from committed results, by name.

python benchmarks/measured_tables.py NAME
python benchmarks/measured_tables.py migration|horizon smol      the same of smol
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from todre.flops.words import format_flops
from todre.reading.formats import interval_text, markdown_text, pipe_table
from todre.reading.results import Interval
from todre.report import format_bytes

RESULTS = Path(__file__).resolve().parents[1] / "results"
SPANS = {"first_token": "first token", "decode_per_token": "per token", "total": "total"}
TOWERS = {
    "tome 0.75": "ToMe, 75 % stay", "tome 0.5": "ToMe, 50 %", "evit 0.5": "EViT, 50 %",
    "crop-skip 3 of 4": "crop-skip, 3 of 4 crops", "crop-skip 2 of 4": "crop-skip, 2 of 4",
    "crop-skip 1 of 4": "crop-skip, 1 of 4",
}  # fmt: skip
RULES = {"k_center": "k-center", "max_sum": "max-sum"}
CLOUDS = {"common": "common direction", "isotropic": "isotropic"}
LAYERS = {8: (1, 2, 4, 6, 8), 30: (1, 4, 8, 12, 15, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30)}
"""Layers that are shown, by depth."""
GLIMPSE = {
    "none": ("no pruning", "8 layers"),
    "glimpseprune": ("**GlimpsePrune**", "1 layer"),
    "random": ("random after layer 1 (3 draws)", "1 layer"),
    "fastv": ("FastV's ranking after layer 1", "1 layer"),
    "none after": ("nothing after layer 1", "1 layer"),
    "todre": ("ToDRE, stage 1", "none"),
    "todre, same mean over layers": ("ToDRE, stage 1, same mean over layers", "none"),
}
GATES = {
    "none": "all",
    "gates": "**the gates**",
    "fixed rate": "as many in every tile, by the gates' logits",
    "fixed rate, no way back": "the same, without a way back",
    "random": "drawn at random",
}


def read(name: str) -> Any:
    """The committed result `name`."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def points(numbers: dict[str, Any], value: str, signed: bool = False) -> str:
    """Text of a value and its interval, `79.6 [78.1, 81.1]`, with a true minus sign."""
    return interval_text(Interval(numbers[value], numbers["low"], numbers["high"]), signed).replace("-", "−")


def difference(numbers: dict[str, Any] | None) -> str:
    """Text of a difference, `+1.4 [−0.3, +3.3]`; empty for None."""
    return "" if numbers is None else points(numbers, "difference", signed=True)


def heldout() -> str:
    """Accuracy of ToDRE, [CLS] top-k and random choice by budget (docs/findings.md)."""
    rows = {(row["method"], row["retain"], row["stages"]): row for row in read("heldout")["rows"]}
    names = {"todre": "ToDRE v2", "todre-v1": "ToDRE v1", "cls-top-k": "[CLS] top-k", "random": "random (3 draws)"}
    none = next(row for (method, *_), row in rows.items() if method == "none")
    lines = [["100 %", str(none["visual_tokens"][0]), points(none["all"], "score"), "", "", ""]]
    for retain in sorted({retain for _, retain, _ in rows if retain is not None}, reverse=True):
        found = {name: row for (name, kept, stages), row in rows.items() if kept == retain and stages != "1"}
        tokens = str(found["todre"]["visual_tokens"][0])
        lines.append([f"{100 * retain:g} %", tokens, *(points(found[n]["all"], "score") for n in names)])
    return pipe_table(["kept", "visual tokens", *names.values()], lines)


def _bench(result: str) -> dict[str, dict[str, Any]]:
    """Rows of a committed benchmark: no pruning, a tenth kept, and its oracle."""
    rows = {row["subject"]: row for row in read(result)["rows"]}
    return {"none": rows["none"], "todre": rows["todre:stages=1@0.1"], "oracle": rows["todre:stages=1@0.1 oracle"]}


def _ratio(quantiles: dict[str, float]) -> str:
    return f"{quantiles['p50']:.3f} [{quantiles['p20']:.3f}, {quantiles['p80']:.3f}]"


def speed() -> str:
    """Times with a tenth kept, in README.md."""
    rows = _bench("bench-budgets")

    def shown(name: str) -> list[str]:
        first, token, total = (rows[name]["ms"][span]["p50"] for span in SPANS)
        return [f"{first / 1000:.3g} s", f"{token:.0f} ms", f"{total / 1000:.3g} s"]

    names = {"none": "no pruning", "todre": "ToDRE", "oracle": "the hand-shortened prompt"}
    lines = [[text, *shown(name)] for name, text in names.items()]
    lines.append(["ToDRE over that, paired", *(_ratio(rows["todre"]["ratio_to_oracle"][span]) for span in SPANS)])
    return pipe_table(["", "first token", "each token after it", "20 tokens"], lines)


def stages() -> str:
    """Times by stage with a tenth kept, in docs/performance.md."""
    rows = _bench("bench-cpu")
    columns = {"encode": "encode", "select": "select", "prefill": "prefill", **SPANS}

    def shown(name: str) -> list[str]:
        return [f"{ms:,.0f}" if (ms := rows[name]["ms"][column]["p50"]) else "–" for column in columns]

    names = {"none": "no pruning", "todre": "ToDRE, 10 %", "oracle": "its oracle"}
    lines = [[text, *shown(name)] for name, text in names.items()]
    ratios = {"**ToDRE over its oracle**": "ratio_to_oracle", "ToDRE over no pruning": "ratio_to_none"}
    for text, ratio in ratios.items():
        lines.append([text, "", "", "", *(_ratio(rows["todre"][ratio][span]) for span in SPANS)])
    return pipe_table(["", *columns.values()], lines)


def tower() -> str:
    """Reduction inside the tower before ToDRE: times, accuracy (docs/performance.md)."""
    times = {row["method"].removesuffix(" + todre"): row for row in read("tower")["rows"]}
    accuracy = {(row["tower"], row["tokens"]): row for row in read("tower-accuracy")["rows"]}
    base = times["todre"]["flops"]["encoder"]
    alone = [f"{100 * accuracy[None, tokens]['all']['score']:.1f}" for tokens in (186, 74)]
    lines = [["– (ToDRE alone; its accuracy)", "1", "1", "1", *alone]]
    for name, text in TOWERS.items():
        row = times[name]
        ratios = [row["flops"]["encoder"] / base, row["encode_over_todre"]["p50"], row["first_token_over_todre"]["p50"]]
        scores = [
            difference(accuracy[name, tokens]["minus_todre_alone"]) if (name, tokens) in accuracy else "not measured"
            for tokens in (186, 74)
        ]
        lines.append([text, *(f"{ratio:.2f}" for ratio in ratios), *scores])
    header = ["before ToDRE", "encoder FLOPs", "encoder time", "first token", "25 %: points against ToDRE alone",
              "10 %"]  # fmt: skip
    return pipe_table(header, lines)


def selection() -> str:
    """The kernels against a plain loop and the published way (docs/performance.md)."""
    document = read("selection")
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in document["rows"]:
        found.setdefault((row["n"], row["d"], row["k"], row["tokens"], row["rule"]), {})[row["subject"]] = row
    order = sorted(found, key=lambda key: (-key[0], -key[1]))
    lines = [
        [
            _cloud(*key), f"{subjects['todre']['p50_ms']:,.0f}",
            *(f"{subjects[name]['times_ours']:.2f}" for name in ("plain loop", "published procedure")),
        ]
        for key, subjects in ((key, found[key]) for key in order)
    ]  # fmt: skip
    for row in document["long"]:
        cloud = _cloud(row["n"], row["d"], row["k"], row["tokens"], row["rule"])
        lines.append([cloud, f"{1000 * row['seconds']:,.0f}", "", ""])
    return pipe_table(["tokens, rule", "ours, ms", "plain over ours", "published over ours"], lines)


def selection_rules() -> str:
    """Seven rules beside their formulas (docs/performance.md)."""
    lines = [
        [
            f"{row['rule'].replace('_', ' ')}, ({row['n']:,}, {row['d']:,}) → {row['k']:,}, {CLOUDS[row['tokens']]}"
            + (f", memory {row['memory']}" if "memory" in row else ""),
            *(f"{row['processor'][name]:,.0f}" for name in ("ours_ms", "plain_ms")),
            "{plain_over_ours:.2f} [{lowest:.2f}, {highest:.2f}]".format(**row["processor"]),
            f"{row['clock']['plain_over_ours']:.2f}",
        ]
        for row in read("selection-rules")["rows"]
    ]
    return pipe_table(["rule, tokens", "ours, ms", "plain, ms", "plain over ours", "by the clock"], lines)


def _cloud(n: int, d: int, k: int, tokens: str, rule: str) -> str:
    return f"({n:,}, {d:,}) → {k:,}, {CLOUDS[tokens]}, {RULES[rule]}"


def demo() -> str:
    """Measurements of `todre demo` on its scene (docs/how-to/see-the-kept-tokens.md)."""
    answers = json.loads((RESULTS.parent / "docs/images/demo.json").read_text(encoding="utf-8"))["scene"]
    lines = [
        [_method(answer), markdown_text(answer["answer"]), *_savings(answer), *_stages(answer)] for answer in answers
    ]
    header = ["method", "answer", "visual tokens", "layer mean", "FLOPs", "KV cache", "encode, ms", "select", "prefill",
              "per token", "total"]  # fmt: skip
    return pipe_table(header, lines)


def _method(answer: dict[str, Any]) -> str:
    fields = answer["method"]
    return "todre-v1" if fields["method"] == "todre" and fields["diversity"] == "k_center" else str(fields["method"])


def _savings(answer: dict[str, Any]) -> list[str]:
    tokens = answer["visual_tokens"]
    layers = tokens["per_layer"]
    shown = f"{tokens['before']} → {tokens['after']}" if tokens["after"] < tokens["before"] else str(tokens["before"])
    mean = f"{sum(layers) / len(layers):.0f}"
    return [shown, mean, format_flops(answer["flops"]["total"]), format_bytes(answer["kv_bytes"])]


def _stages(answer: dict[str, Any]) -> list[str]:
    times = answer["timings_ms"]
    stages = (times[name] for name in ("encode", "select", "prefill", "decode_per_token", "total"))
    return [f"{ms:.1f}" if ms < 100 else f"{ms:.0f}" for ms in stages]


def migration(model: str = "") -> str:
    """Attention mass by layer."""
    layers = {layer["layer"]: layer for layer in read(f"analysis-migration{model}")["layers"]}
    lines = []
    for number in LAYERS[len(layers)]:
        prefill, decode = layers[number]["prefill"], layers[number]["decode"]
        back = prefill["visual_to_text"]
        zero = "0 exactly" if back["low"] == back["high"] == 0 else points(back, "mean")
        lines.append([str(number), points(prefill["text_to_visual"], "mean"), zero, points(decode["visual"], "mean"),
                      points(decode["text"], "mean")])  # fmt: skip
    return pipe_table(["layer", "text → visual", "visual → text", "generated → visual", "generated → text"], lines)


def horizon(model: str = "") -> str:
    """Information of windows by the number of layers that see the whole picture."""
    every = read(f"analysis-horizon{model}")["tasks"]["all"]

    def line(text: str, measure: str, show: Callable[[dict[str, float]], str]) -> list[str]:
        return [text, *(show(cell) for cell in every[measure])]

    def edges(cell: dict[str, float]) -> str:
        digits = 2 if cell["mean"] > 0.03 else 3
        return f"{cell['low']:.{digits}f}–{cell['high']:.{digits}f}"

    def mean(cell: dict[str, float]) -> str:
        return f"{cell['mean']:.3f}"

    lines = [
        line("largest information of a window", "largest", mean),
        line("its 95 % interval", "largest", edges),
        line("spread over windows", "spread", mean),
        line("all tokens together", "all_together_size", mean),
    ]
    numbers = [str(cell["layer"]) for cell in every["largest"]]
    return pipe_table(["layers that see the whole picture", *numbers], lines)


def calibrate() -> str:
    """Costs of the chosen layer and threshold of stage 2, on both halves."""
    document = read("analysis-calibrate")
    lines = []
    for name, text in {"chosen_on": "half it was chosen on", "checked_on": "half it was checked on"}.items():
        half = document[name]
        change = points(half["difference"], "mean", signed=True)
        lines.append([text, str(half["questions"]), points(half["stage_1_alone"], "mean"), change,
                      f"{100 * half['fired']:.0f} %", f"{100 * half['saved']:.1f} %"])  # fmt: skip
    header = ["", "questions", "stage 1 alone, %", "changed by stage 2, points", "dropped",
              "layers of visual tokens saved"]  # fmt: skip
    return pipe_table(header, lines)


def depths() -> str:
    """Ranking quality of untrained attention by layer."""
    rows = read("glimpse-depths")["rows"]
    names = {"all_words": "all words of the question", "last_token": "the last token alone"}
    lines = [[text, *(f"{row[name]:.2f}" for row in rows)] for name, text in names.items()]
    return pipe_table(["layers run", *(str(row["layers"]) for row in rows)], lines)


def glimpse() -> str:
    """GlimpsePrune and its controls."""
    lines = []
    for row in read("glimpse")["rows"]:
        text, sees = GLIMPSE[row["method"]]
        lines.append([text, sees, _kept(row), points(row["all"], "score"), difference(row.get("against_none")),
                      difference(row.get("glimpse_minus"))])  # fmt: skip
    header = ["method", "sees all tokens in", "kept after", "score", "against no pruning", "glimpse minus it"]
    return pipe_table(header, lines)


def _kept(row: dict[str, Any]) -> str:
    if row["method"] in ("none", "none after"):
        return "100 %" if row["method"] == "none" else "0 %"
    share = read("glimpse")["kept"]["score"] if row["method"] == "glimpseprune" else row["fields"]["retain"]
    return f"{100 * share:.1f} %"


def gates() -> str:
    """SViT's gates and their controls."""
    lines = []
    for row in read("svit")["rows"]:
        back = "" if row["method"] == "none" else _shares(row["came_back"])
        lines.append([GATES[row["method"]], _shares(row["kept"]), back, points(row["all"], "score"),
                      difference(row.get("against_none")), difference(row.get("gates_minus"))])  # fmt: skip
    header = ["who goes through", "through blocks 2, 3, 4", "came back in 3, 4", "score", "against no gates",
              "gates minus it"]  # fmt: skip
    return pipe_table(header, lines)


def _shares(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.0f}" for value in values) + " %"


def serving() -> str:
    """vLLM's server under load, with and without pruning (docs/vllm.md)."""
    rows = read("serve-vllm-cpu")["rows"]
    names = {"none": "unpruned", "todre@0.25": "25 % kept", "todre@0.1": "10 % kept"}
    unpruned = {row["cell"]["concurrency"]: row for row in rows if row["configuration"] == "none"}
    lines = []
    for row in rows:
        clients = row["cell"]["concurrency"]
        kv = row["peak_kv"]["tokens"] / unpruned[clients]["peak_kv"]["tokens"]
        first = row["ms"]["first_token"]
        lines.append([
            str(clients), names[row["configuration"]], f"{row['requests_per_second']['p50']:.2f}",
            f"{row['ratio_to_baseline']['p50']:.2f}", f"{first['p50'] / 1000:.1f} / {first['p95'] / 1000:.1f}",
            f"{row['tokens_per_second']['p50']:.1f}", f"{kv:.2f}", f"{100 * row['tower_share']['p50']:.0f} %",
        ])  # fmt: skip
    header = ["clients", "", "requests/s", "×", "first token p50 / p95, s", "tokens/s", "peak KV ×", "tower's share"]
    return pipe_table(header, lines)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (heldout, speed, demo, stages, tower, selection, selection_rules, migration, horizon, calibrate, depths,
                 glimpse, gates, serving)
}  # fmt: skip


def print_table(names: Sequence[str], tables: Mapping[str, Callable[[], str]], more: str = "") -> int:
    """Print the one table that is named; returns the exit code.

    Args:
        names: the words of the command line.
        tables: by name.
        more: of the error's sentence, for other words.
    """
    if len(names) != 1 or names[0] not in tables:
        sys.stderr.write(f"error: name one of {', '.join(tables)}{more}.\n")
        return 2
    sys.stdout.write(tables[names[0]]())
    return 0


def main(arguments: list[str] | None = None) -> int:
    names = sys.argv[1:] if arguments is None else arguments
    several = {each.__name__: each for each in (migration, horizon)}
    if len(names) == 2 and names[0] in several and names[1] == "smol":
        sys.stdout.write(several[names[0]]("-smol"))
        return 0
    return print_table(names, TABLES, f"; behind {' and '.join(several)} you may name smol")


if __name__ == "__main__":
    sys.exit(main())
