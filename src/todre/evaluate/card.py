"""Make the card of the shipped model: `python -m todre.evaluate.card`.

Accuracy by task with intervals beside two kinds of chance, visual tokens per picture, accuracy under random pruning,
attention to the picture by layer, and what happens when the picture, or the layers themselves, are taken away.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from todre.errors import TodreError
from todre.evaluate.card_page import page
from todre.evaluate.conditions import BLIND, NONE, Condition, label, random_conditions
from todre.evaluate.options import add_common, conditions_of_run, settings_from
from todre.evaluate.probes import DropAfter, ObserveAttention
from todre.evaluate.runner import Answers, run
from todre.evaluate.session import Session, Settings
from todre.evaluate.table import Records, Table
from todre.files import write_atomic
from todre.hf.model_parts import decoder_depth
from todre.methods.base import NoPruning
from todre.scenes import Question, make_scene, score
from todre.scenes.scoring import mentioned_pairs

RETAINS = (0.5, 0.25, 0.10, 0.05)
SIZES = ((192, 192), (192, 144), (192, 96), (96, 192), (96, 96))
OBSERVE = Condition("observe", ObserveAttention())


def drop_after(layer: int) -> Condition:
    """Condition that drops the picture after `layer` layers."""
    return Condition(f"drop-after-{layer}", DropAfter(layer=layer))


def delete_after(layer: int) -> Condition:
    """Condition that deletes all decoder layers after layer `layer` (1-based)."""
    return Condition(f"delete-after-{layer}", NoPruning(), first_layers=layer)


def majority(records: Records) -> dict[str, Any]:
    """Best constant answer to a task's questions, chosen in hindsight, and its score."""
    truths = [Question(record["task"], record["question"], record["answer"]) for record in records]
    if truths[0].task == "caption":
        common = Counter(pair for truth in truths for pair in mentioned_pairs(truth.answer)).most_common()
        names = [f"{colour} {shape}" for (colour, shape), _ in sorted(common, key=lambda item: (-item[1], item[0]))]
        candidates = [", ".join(names[:count]) for count in range(1, len(names) + 1)]
    else:
        candidates = sorted({truth.answer for truth in truths})
    means = [float(np.mean([score(truth, candidate) for truth in truths])) for candidate in candidates]
    best = int(np.argmax(means))
    return {"answer": candidates[best], "score": round(means[best], 6)}


def tasks_of(table: Table) -> dict[str, dict[str, Any]]:
    """Accuracy, blind control and best constant answer of each task."""
    pictured, blind = table.by_task(table.scores(NONE.name)), table.by_task(table.scores(BLIND.name))
    results = {}
    for task, values in pictured.items():
        mine = [record for record in table.questions if record["task"] == task]
        results[task] = {**values, "blind": blind[task], "majority": majority(mine)}
    return results


def curves(answers: Answers, depth: int, seed: int) -> dict[str, Any]:
    """Accuracy by layer: with the picture dropped after it, or later layers deleted."""
    names = [NONE.name, *(make(layer).name for make in (drop_after, delete_after) for layer in range(1, depth))]
    table = Table.of({name: answers.by_condition[name] for name in names}, seed=seed)
    points = []
    for layer in range(1, depth + 1):
        point: dict[str, Any] = {"layer": layer}
        for kind, make in (("drop", drop_after), ("delete", delete_after)):
            name = make(layer).name if layer < depth else NONE.name
            point[kind] = {
                **table.mean(table.scores(name)),
                "against_none": {k: v for k, v in table.difference([name], [NONE.name]).items() if k != "mcnemar"},
            }
        points.append(point)
    return {"questions": len(table.questions), "layers": points}


def attention(records: Records, uniform: float) -> dict[str, Any]:
    """Mean share of attention that later text pays to the picture, by layer."""
    layers = sorted({int(layer) for record in records for layer in record["ratios"]})
    found = [
        [r["ratios"][str(layer)][0] for r in records if r["ratios"].get(str(layer), [None])[0] is not None]
        for layer in layers
    ]
    shares = [
        {"layer": layer, "text_to_visual": round(float(np.mean(values)), 6)}
        for layer, values in zip(layers, found, strict=True)
    ]
    return {"questions": len(records), "uniform": round(uniform, 6), "layers": shares}


def visual_tokens(session: Session) -> list[dict[str, Any]]:
    """Counts of visual and of all prompt tokens for pictures of several sizes.

    The questions' own size comes first; the prompt is a short question.
    """
    from todre.evaluate.batch_answers import prepare

    counts = []
    image_token = session.loaded.model.config.image_token_id
    for size in dict.fromkeys([(session.settings.size,) * 2, *SIZES]):
        question = Question("digit", "What digit is shown?", "")
        (prompt,) = prepare(session.loaded, make_scene(0, "val", size).image, [question]).prompts
        counts.append({"size": list(size), "tokens": int((prompt == image_token).sum()), "prompt": len(prompt)})
    return counts


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.evaluate.card", description=__doc__)
    add_common(parser, pictures=248)
    parser.add_argument("--curve-pictures", type=int, default=80, help="scenes for the curves over layers")
    parser.add_argument("--attention-pictures", type=int, default=16, help="scenes for attention by layer")
    parser.add_argument("--random-seeds", type=int, default=3, help="draws of random pruning")
    parser.add_argument("--output", type=Path, default=Path("results/model-card.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/model-card.md"))
    parser.add_argument("--figure", type=Path, default=Path("docs/images/model-card.png"))
    return parser.parse_args(arguments)


def measure(settings: Settings, flags: argparse.Namespace, command: str) -> dict[str, Any]:
    """The card's JSON document; answers all questions that the card needs."""
    started = time.monotonic()
    session = Session(settings)
    depth = decoder_depth(session.loaded.model)
    pruned = {retain: random_conditions(retain, range(flags.random_seeds)) for retain in RETAINS}
    main = [NONE, BLIND, *(condition for conditions in pruned.values() for condition in conditions)]
    layered = [NONE, *(make(layer) for make in (drop_after, delete_after) for layer in range(1, depth))]
    runs = []
    for conditions, pictures in (
        (main, flags.pictures),
        (layered, flags.curve_pictures),
        ([OBSERVE], flags.attention_pictures),
    ):
        alone = session if flags.processes == 1 else None
        runs.append(run(settings, conditions, pictures, flags.work, processes=flags.processes, session=alone))
    table = Table.of(runs[0].by_condition, seed=flags.seed)
    sizes = visual_tokens(session)
    random = []
    for retain in RETAINS:
        names = [label("random", retain, seed) for seed in range(flags.random_seeds)]
        tokens = table.records[names[0]][0]["visual_tokens"]
        against = table.difference(names, [NONE.name])
        random.append(
            {"retain": retain, "visual_tokens": tokens, **table.mean(table.scores(*names)), "against_none": against}
        )
    return {
        "what": "card of the shipped model",
        "command": command,
        "conditions": {
            **conditions_of_run(settings, flags, table),
            "random_seeds": list(range(flags.random_seeds)),
            "core_seconds": round(sum(each.core_seconds for each in runs), 1),
            "wall_seconds": round(time.monotonic() - started, 1),
        },
        "parameters": sum(parameter.numel() for parameter in session.loaded.model.parameters()),
        "decoder_layers": depth,
        "all": table.mean(table.scores(NONE.name)),
        "blind": table.mean(table.scores(BLIND.name)),
        "tasks": tasks_of(table),
        "visual_tokens": sizes,
        "random": random,
        "attention": attention(runs[2].by_condition[OBSERVE.name], sizes[0]["tokens"] / sizes[0]["prompt"]),
        "depth": curves(runs[1], depth, flags.seed),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    flags = parse(arguments)
    console = Console(stderr=True)
    command = " ".join(["python -m todre.evaluate.card", *(arguments if arguments is not None else sys.argv[1:])])
    try:
        from todre.evaluate.card_figure import figure
        from todre.plots.marks import save_figure

        document = measure(settings_from(flags), flags, command)
        for path in (flags.output, flags.page, flags.figure):
            path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure(document), flags.figure)
        write_atomic(flags.output, json.dumps(document, indent=1) + "\n")
        write_atomic(flags.page, page(document, flags.output.name, flags.figure.name))
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output}, {flags.page} and {flags.figure}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
