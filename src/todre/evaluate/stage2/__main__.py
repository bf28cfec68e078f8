"""Study stage 2 on a model: `python -m todre.evaluate.stage2`.

Measures, on the same questions: accuracy when the picture leaves after each layer, when text does not see it in one
layer, and when layers are skipped; attention to the picture after every layer; how often the stage 2 of both versions
of ToDRE fires and what that costs; other methods beside them; and rankings against random tokens in deep layers.

Tasks are all on scenes but captions. Layers are written all, none, every:2, or 4,8,12. Interrupted, the same command
goes on where it was.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from todre.errors import TodreError
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.stage2.figure import figure
from todre.evaluate.stage2.pictures import check_model
from todre.evaluate.stage2.plan import Plan, named_layers
from todre.evaluate.stage2.run import study
from todre.evaluate.stage2.summary import as_text
from todre.evaluate.stage2.working import Done
from todre.evaluate.tasks import tasks_of
from todre.evaluate.tasks.scenes import PREFIX
from todre.files import check_targets, write_atomic
from todre.hf.model_parts import decoder_depth
from todre.loading.model import Loaded
from todre.plots.marks import save_figure
from todre.scenes import TASKS as SCENES

PROGRAM = "python -m todre.evaluate.stage2"
TASKS = ",".join(PREFIX + task for task in SCENES if task != "caption")
"""All tasks on scenes but captions, whose long answers would take the most time."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-m", "--model", help="name, folder or hub id; the shipped model by default")
    add("--tasks", default=TASKS, help="tasks of `todre eval`, or files of questions, separated by commas")
    add("--questions", type=int, default=900, help="in all; each task has as many")
    add("--size", type=int, default=192, help="side of the scenes' pictures in pixels")
    add("--seed", type=int, default=0, help="of the scenes and of the bootstrap")
    add("--drop", default="all", help="layers after which the picture leaves")
    add("--hide", default="every:2", help="layers in which text does not see the picture")
    add("--delete", default="all", help="layers after which all others are skipped")
    add("--skip", default="every:5", help="layers that are skipped alone; the dearest change")
    add("--retain", type=float, nargs="+", default=[0.25, 0.1], help="budgets of stage 1 before stage 2")
    add("--threshold", type=float, nargs="+", default=[0.03, 0.1, 0.2], help="thresholds of stage 2, ascending")
    add("--method", action="append", default=[], metavar="SPEC", help="also this one, as in todre:retain=0.1; repeat")
    add("--rankings", default="random-deep,fastv,pyramiddrop,dart", help="compared in deep layers")
    add("--deep-layers", default="none", help="layers after which the rankings keep a share")
    add("--deep-retain", type=float, nargs="+", default=[0.1], help="shares that the rankings keep")
    add("--deep-groups", type=int, default=8, help="groups of pictures that the rankings are asked about")
    add("--draws", type=int, default=3, help="draws of random tokens in deep layers")
    add("--group-size", type=int, default=4, help="pictures measured together")
    add("--batch-size", type=int, default=16, help="rows of one forward of a method; changes no answer")
    add("--processes", type=int, default=1, help="one thread each, if there are several")
    add("--device", default="cpu")
    add("--dtype", default="float32")
    add("--work", type=Path, help="the working file; beside the output by default")
    add("--output", type=Path, default=Path("stage2.json"), help="the JSON document")
    add("--figure", type=Path, help="the figure; beside the output by default")
    add("--force", action="store_true", help="replace an earlier result")
    return parser.parse_args(arguments)


def config_of(flags: argparse.Namespace) -> EvalConfig:
    """Questions and model, from the command line."""
    tasks = tuple(flags.tasks.split(","))
    return EvalConfig(
        tasks=tasks,
        model=flags.model,
        limit=max(1, -(-flags.questions // len(tasks_of(tasks, flags.size)))),
        seed=flags.seed,
        size=flags.size,
        group_size=flags.group_size,
        batch_size=flags.batch_size,
        device=flags.device,
        dtype=flags.dtype,
    )


def plan_of(flags: argparse.Namespace, depth: int) -> Plan:
    """What is measured, from the command line."""
    return Plan(
        depth=depth,
        drop=named_layers(flags.drop, depth),
        hide=named_layers(flags.hide, depth, last=True),
        delete=named_layers(flags.delete, depth),
        skip=named_layers(flags.skip, depth, last=True),
        retains=tuple(flags.retain),
        thresholds=tuple(flags.threshold),
        methods=tuple(flags.method),
        rankings=tuple(name for name in flags.rankings.split(",") if name),
        deep_layers=named_layers(flags.deep_layers, depth),
        deep_retains=tuple(flags.deep_retain),
        deep_groups=flags.deep_groups,
        draws=flags.draws,
    )


def conditions(config: EvalConfig, plan: Plan, loaded: Loaded, processes: int) -> dict[str, Any]:
    """Conditions of a run, ready for JSON."""
    import torch

    return {
        **config.conditions(config.items()),
        "model": loaded.facts(),
        "plan": plan.to_dict(),
        "machine": platform.machine(),
        "processes": processes,
        "threads_per_process": 1 if processes > 1 else torch.get_num_threads(),
        "decoding": "greedy",
        "bootstrap": {"resamples": 10_000, "seed": config.seed, "clusters": "pictures"},
    }


def progress(lines: Iterable[Done], left: int, total: int) -> Iterator[Done]:
    """Pass `lines` on, and show progress on stderr."""
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=total, completed=total - left)
        for line in lines:
            yield line
            bar.advance(task)


def measure(flags: argparse.Namespace, command: str) -> dict[str, Any]:
    """The document of a study; also writes it and its figure to files."""
    output, drawing = flags.output, flags.figure or flags.output.with_suffix(".png")
    config = config_of(flags)
    check_targets([output, drawing], config.files(), flags.force)
    loaded = config.load()
    check_model(loaded.model)
    plan = plan_of(flags, decoder_depth(loaded.model))
    plan.parts()
    facts = conditions(config, plan, loaded, flags.processes)
    work = flags.work or output.with_suffix(".partial.jsonl")
    found = study(config, plan, work, processes=flags.processes, loaded=loaded, ticker=progress)
    document: dict[str, Any] = {
        "what": "where a model needs its picture, and where stage 2 drops it",
        "command": command,
    }
    document |= {"conditions": facts, **found}
    save_figure(figure(document), drawing)
    write_atomic(output, as_text(document) + "\n")
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    flags = parse(given)
    console = Console(stderr=True)
    try:
        measure(flags, shlex.join([*PROGRAM.split(), *given]))
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
