"""Held-out result of the trained glimpse: `python -m todre.glimpse.evaluate`.

The module writes `results/glimpse.json`.

The glimpse answers first. Then controls answer the same questions, keeping the glimpse's mean number of tokens:

* random tokens, the most attended tokens, or none, after the same layer;
* ToDRE before the decoder, with this number of tokens, and with the number that gives the same mean over all layers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from todre.errors import TodreError
from todre.evaluate.batch_answers import answer, encode, prepare
from todre.evaluate.conditions import NONE, Condition
from todre.evaluate.options import add_common, conditions_of_run, settings_from
from todre.evaluate.probes import DropAfter
from todre.evaluate.runner import run
from todre.evaluate.session import Session, Settings
from todre.evaluate.table import Table, ordered
from todre.files import write_atomic
from todre.methods.base import Method
from todre.methods.fastv import FastV
from todre.methods.glimpse.weights import load_trained, shipped_weights
from todre.methods.glimpseprune import GlimpsePrune
from todre.methods.random_deep import RandomDeep
from todre.methods.todre import ToDRE
from todre.pruning import prune
from todre.scenes import make_scene
from todre.tiny.runfiles import read_log

GLIMPSE = "glimpseprune"


def controls(layer: int, n_layers: int, kept: float, seeds: Sequence[int]) -> list[Condition]:
    """Controls for a glimpse that keeps a mean share `kept` of tokens after `layer`."""
    average = (layer + (n_layers - layer) * kept) / n_layers
    methods: dict[str, Method] = {
        "fastv": FastV(retain=kept, layer=layer),
        "none after": DropAfter(layer=layer),
        "todre": ToDRE(retain=kept, stages=(1,)),
        "todre, same mean over layers": ToDRE(retain=average, stages=(1,)),
    }
    drawn = [Condition(f"random#{seed}", RandomDeep(retain=kept, layer=layer, seed=seed)) for seed in seeds]
    return [*drawn, *(Condition(name, method) for name, method in methods.items())]


def kept_shares(session: Session, pictures: int) -> dict[tuple[int, str], float]:
    """Share of visual tokens that the glimpse keeps, by picture and question.

    The shares are read from the prefill's report.
    """
    shares = {}
    for seed in range(pictures):
        scene = make_scene(seed, session.settings.split, session.settings.size)
        prepared = prepare(session.loaded, scene.image, scene.questions)
        with torch.inference_mode(), prune(session.loaded.model, GlimpsePrune()) as report:
            features = [encode(session.loaded.model, prepared.pixels)] * len(prepared.prompts)
            answer(session.loaded, report, prepared.prompts, features, 1, share=False)
            counts = [layers[-1] for layers in report.visual_tokens_per_layer]
            for question, left, before in zip(scene.questions, counts, report.visual_tokens_before, strict=True):
                shares[seed, question.text] = left / before
    return shares


def measure(settings: Settings, flags: argparse.Namespace, command: str) -> dict[str, Any]:
    """The document of results; answers all questions that the document needs."""
    session = Session(settings)
    trained = load_trained()
    shape = trained.glimpse.shape
    digest = hashlib.sha256(shipped_weights().read_bytes()).hexdigest()
    work = flags.work / f"glimpse-{digest[:16]}"  # answers of other weights are not these
    shares = kept_shares(session, flags.pictures)
    first = [NONE, Condition(GLIMPSE, GlimpsePrune())]
    answers = run(settings, first, flags.pictures, work, session=session)
    first_table = Table.of(answers.by_condition, seed=flags.seed)
    kept = np.array([shares[one["picture"], one["question"]] for one in first_table.questions])
    rest = controls(shape.layer, shape.n_layers, round(float(kept.mean()), 4), range(flags.random_seeds))
    answers = run(settings, first + rest, flags.pictures, work, session=session)
    table = Table.of(answers.by_condition, seed=flags.seed)
    return {
        "what": "accuracy of the trained glimpse on held-out scenes, and of controls with as many tokens",
        "command": command,
        "conditions": conditions_of_run(settings, flags, table),
        "weights": {"sha256": digest, "model_sha256": trained.model, **asdict(shape)},
        "training": read_log(flags.log),
        "kept": kept_document(table, kept),
        "rows": rows_of(table, first + rest, flags.random_seeds),
    }


def kept_document(table: Table, kept: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Share of tokens that the glimpse keeps: mean, interval, task means, quantiles."""
    tasks = {task: round(float(kept[table.tasks == task].mean()), 4) for task in ordered(table.tasks.tolist())}
    least, most = np.quantile(kept, [0.05, 0.95])
    return {**table.mean(kept), "tasks": tasks, "5 %": round(float(least), 4), "95 %": round(float(most), 4)}


def rows_of(table: Table, conditions: Sequence[Condition], seeds: int) -> list[dict[str, Any]]:
    """Rows of the result, one for each method; all random draws share a row."""
    drawn = [f"random#{seed}" for seed in range(seeds)]
    rows = []
    for condition in conditions:
        if condition.name in drawn[1:]:
            continue
        names = drawn if condition.name in drawn else [condition.name]
        scores = table.scores(*names)
        row = {"method": names[0].split("#")[0], "fields": condition.to_dict(), "all": table.mean(scores)}
        row["tasks"] = {task: values["score"] for task, values in table.by_task(scores).items()}
        if condition.name != "none":
            row["against_none"] = table.difference(names, ["none"])
        if condition.name not in ("none", GLIMPSE):
            row["glimpse_minus"] = table.difference([GLIMPSE], names)
        rows.append(row)
    return rows


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.glimpse.evaluate", description=__doc__)
    add_common(parser, pictures=40, processes=False)
    parser.add_argument("--random-seeds", type=int, default=3, help="draws of the random control")
    parser.add_argument("--log", type=Path, default=Path("runs/glimpse/glimpse.jsonl"), help="of the training")
    parser.add_argument("--output", type=Path, default=Path("results/glimpse.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    flags = parse(arguments)
    console = Console(stderr=True)
    command = " ".join(["python -m todre.glimpse.evaluate", *(arguments if arguments is not None else sys.argv[1:])])
    try:
        document = measure(settings_from(flags), flags, command.strip())
        write_atomic(flags.output, json.dumps(document, indent=1) + "\n")
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output}", markup=False)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
