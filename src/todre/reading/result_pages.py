"""The page of a held-out comparison in Markdown, from its JSON document alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

NAMES = {
    "none": "no pruning",
    "todre": "ToDRE v2",
    "todre-v1": "ToDRE v1",
    "random": "random",
    "cls-top-k": "[CLS] top-k",
}
_WHOLE = ("", "both")


def page(document: dict[str, Any], source: str, answers: str) -> str:
    """Page of a held-out comparison: conditions, findings, and every number."""
    parts = [
        "# Pruning methods on held-out scenes",
        _conditions(document, source, answers),
        "## What it says",
        "\n".join(f"* {sentence}" for sentence in findings(document)),
        "## Accuracy over all tasks",
        _overall(document),
        "## Differences between methods",
        _pairs(document),
        "## Stage 2",
        _stage_two(document),
        "## By task",
        *(f"### Kept {percent(retain)}\n\n{_tasks(document, retain)}" for retain in retains_of(document)),
    ]
    return "\n\n".join(parts) + "\n"


def percent(share: float) -> str:
    """Text of a share: "25 %"."""
    return f"{100 * share:g} %"


def points(value: float, sign: bool = False) -> str:
    """Text of a score or a difference in points of a hundred."""
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def spread(values: dict[str, Any], key: str = "score") -> str:
    """Text of a value with its interval: "71.2 [69.0, 73.3]"."""
    sign = key == "difference"
    return f"{points(values[key], sign)} [{points(values['low'], sign)}, {points(values['high'], sign)}]"


def paragraph(text: str) -> str:
    """A paragraph wrapped for the page's source; links and code keep together."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; the first column is left-aligned, the others right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def retains_of(document: dict[str, Any]) -> list[float]:
    """The budgets, in the order of the document."""
    return list(dict.fromkeys(row["retain"] for row in document["rows"] if row["retain"] is not None))


def findings(document: dict[str, Any]) -> list[str]:
    """Sentences on each budget: the best mean, and which methods it beats."""
    none = next(row for row in document["rows"] if row["method"] == "none")
    sentences = [f"Without pruning the model scores {spread(none['all'])}."]
    for retain in retains_of(document):
        rows = [row for row in document["rows"] if row["retain"] == retain and row["stages"] in _WHOLE]
        ranked = sorted(rows, key=lambda row: -row["all"]["score"])
        best = ranked[0]
        beaten: list[str] = []
        level: list[str] = []
        for other in ranked[1:]:
            lead = _lead(document, retain, best["method"], other["method"])
            (beaten if lead["low"] > 0 else level).append(f"{NAMES[other['method']]} ({spread(lead, 'difference')})")
        text = f"Kept {percent(retain)}: **{NAMES[best['method']]}** has the highest mean, {spread(best['all'])}, "
        text += f"{spread(best['against_none'], 'difference')} against no pruning."
        if beaten:
            text += f" Its lead is beyond the interval over {_listed(beaten)}."
        if level:
            text += f" It is not separated from {_listed(level)}: the interval of the difference holds zero."
        sentences.append(text)
    return sentences


def _lead(document: dict[str, Any], retain: float, first: str, second: str) -> dict[str, float]:
    """The paired difference first − second, in whichever order the document has it."""
    for pair in document["pairs"]:
        if pair["retain"] == retain and (pair["first"], pair["second"]) == (first, second):
            return {key: pair[key] for key in ("difference", "low", "high")}
        if pair["retain"] == retain and (pair["first"], pair["second"]) == (second, first):
            return {"difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
    raise KeyError(f"no comparison of {first} and {second} at {retain}")


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _conditions(document: dict[str, Any], source: str, answers: str) -> str:
    run = document["conditions"]
    model, side = run["model"], run["picture_size"]
    return "\n\n".join(
        [
            "Made by",
            f"    {document['command']}",
            paragraph(
                f"from [`results/{source}`](../results/{source}); every answer is in "
                f"[`results/{answers}`](../results/{answers})."
            ),
            paragraph(
                f"{run['questions']} questions, {run['questions_per_task']} of each task, about {run['pictures']} "
                f"pictures of {side} × {side} pixels from the `{run['split']}` split of `todre.scenes` "
                f"({'nothing was tuned on it' if run['split'] == 'test' else 'not the held-out one'}). "
                f"Model `{model['id']}` (SHA-256 `{model['sha256'][:12]}…`), {model['dtype']} on {model['device']}, "
                f"attention `{model['attn_implementation']}`, image processor `{model['image_processor_backend']}`, "
                "greedy decoding, tokens really dropped, original positions. "
                f"Random is the mean of {len(run['random_seeds'])} draws, made anew for every group of pictures. "
                "Captions score the F1 of the colour–shape pairs that they name; all other answers are right or wrong."
            ),
            paragraph(
                "Brackets hold 95 % intervals: for single tasks Wilson's (a bootstrap for captions and for the mean of "
                "several draws), for means over tasks and for differences a paired bootstrap over whole pictures "
                f"({run['bootstrap']['resamples']} resamples, seed {run['bootstrap']['seed']}). They are not corrected "
                "for the number of comparisons, and they do not cover a second training of the model: **the ranking is "
                "a finding about this one small model, not about others.**"
            ),
        ]
    )


def _overall(document: dict[str, Any]) -> str:
    rows = []
    for row in document["rows"]:
        stages = " (stage 1 alone)" if row["stages"] == "1" else ""
        tokens = ", ".join(str(count) for count in row["visual_tokens"])
        kept = percent(row["retain"]) if row["retain"] is not None else "100 %"
        against = spread(row["against_none"], "difference") if "against_none" in row else ""
        rows.append([NAMES[row["method"]] + stages, kept, tokens, spread(row["all"]), against])
    return markdown_table(["method", "kept", "visual tokens", "accuracy", "against no pruning"], rows)


def _pairs(document: dict[str, Any]) -> str:
    rows = []
    for pair in document["pairs"]:
        test = pair.get("mcnemar")
        exact = f"{test['only_first']} : {test['only_second']}, p = {test['p']:.2g}" if test else ""
        names = f"{NAMES[pair['first']]} − {NAMES[pair['second']]}"
        rows.append([names, percent(pair["retain"]), spread(pair, "difference"), exact])
    note = (
        "McNemar's exact test counts the questions that only the first or only the second got right, without captions; "
        "it takes questions about one picture for independent, which the bootstrap does not. "
        "It is left out where a side is the mean of several draws."
    )
    return markdown_table(["difference", "kept", "points", "McNemar"], rows) + "\n\n" + paragraph(note)


def _stage_two(document: dict[str, Any]) -> str:
    rows = []
    for row in document["rows"]:
        if row["stages"] != "both":
            continue
        fired = row["stage_2"]
        layers = ", ".join(f"{count} after layer {layer}" for layer, count in fired["by_layer"].items()) or "never"
        rows.append([NAMES[row["method"]], percent(row["retain"]), f"{fired['dropped']} of {fired['asked']}", layers])
    note = "How often all remaining visual tokens were dropped inside the decoder, at the papers' thresholds."
    if not any(row["stage_2"]["dropped"] for row in document["rows"] if row["stages"] == "both"):
        note += (
            " It never was: stage 1 alone gives the very same answers, and nothing here speaks for or against stage 2."
        )
    return paragraph(note) + "\n\n" + markdown_table(["method", "kept", "questions", "where"], rows)


def _tasks(document: dict[str, Any], retain: float) -> str:
    rows = [
        row
        for row in document["rows"]
        if row["method"] == "none" or (row["retain"] == retain and row["stages"] in _WHOLE)
    ]
    tasks = list(rows[0]["tasks"])
    body = [[task, *(spread(row["tasks"][task]) for row in rows)] for task in tasks]
    return markdown_table(["task", *(NAMES[row["method"]] for row in rows)], body)
