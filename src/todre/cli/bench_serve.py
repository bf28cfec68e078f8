"""`todre bench --serve`: servers under load, pruned and unpruned in turn."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from todre.cli.bench_options import SweepOptions
from todre.cli.bench_serve_options import ServeOptions, only
from todre.cli.ignored_options import check_beside
from todre.cli.method_names import ALL, files_among
from todre.cli.options import ModelOptions

if TYPE_CHECKING:
    from todre.bench.document import Document
    from todre.bench.load.configurations import Configuration
    from todre.bench.load.engines import Launch, Subject
    from todre.bench.load.settings import LoadSettings
    from todre.bench.presets import Preset

PRESET = "llava-next-120m"
METHODS, RETAINS = ("todre",), (0.25, 0.1)
PICTURE = (672, 672)
"""(height, width) in pixels of the pictures that a checkpoint is asked about."""
QUESTION = "What is in the picture?"
_MODEL = {"random_weights", "model", "device", "dtype", "seed"}
_LOAD = {"concurrency", "requests", "soak", "new_tokens", "text_tokens", "rounds", "warm_up"}
_FILES = {"output", "resume", "force", "plots", "json", "quiet", "verbose"}
_SERVERS = {"serve", "engine", "server_python", "server_options", "one_server", "methods", "retain", "threads"}
_ONLY_SERVE = {"engine", "servers", "server_python", "server_options", "one_server", "concurrency", "requests", "soak"}

Tick = Callable[[str], None]


def check_serve(context: typer.Context, load: ServeOptions) -> None:
    """Raise if an option would change nothing with, or without, --serve."""
    if not load.serve:
        useless = next((name for name in sorted(_ONLY_SERVE) if getattr(load, name) not in (None, False)), None)
        if useless is not None:
            raise typer.BadParameter(f"--{useless.replace('_', '-')} is for servers; add --serve, or leave it out.")
        return
    useful = _MODEL | _LOAD | _FILES
    if load.servers is not None:
        check_beside(context, "--servers", useful | {"serve", "servers"})
    else:
        check_beside(context, "--serve", useful | _SERVERS)


def measure_servers(
    preset_name: str | None,
    model: ModelOptions,
    sweep: SweepOptions,
    load: ServeOptions,
    seed: int,
    output: Path | None,
    resume: bool,
    tick: Tick,
) -> Document:
    """Measure servers under load; returns the document.

    Args:
        preset_name: name of the preset with random weights; None for the checkpoint of `model`, or without it for the
            preset of the documentation.
        model: options of the model.
        sweep: options that all kinds of `todre bench` share.
        load: options of servers and load.
        seed: seed of weights, pictures and words.
        output: the document's file.
        resume: whether to go on with it.
        tick: called with a description of each step.
    """
    from todre.bench.load.requests import Requests, words_of
    from todre.bench.load.run import run
    from todre.bench.presets import preset

    chosen = None if model.model is not None else preset(preset_name or PRESET)
    settings = load.settings(sweep, seed, PICTURE if chosen is None else chosen.picture)
    device, dtype = _device(model)
    launch = _launch(load, sweep, device, dtype)
    if load.servers is not None:
        _configurations(load, sweep, launch)  # a file that cannot be used is better refused before the weights are made
    elif launch.one_server:
        from todre.bench.load.engines import check_one_server

        check_one_server(_subjects(sweep))  # earlier than the weights, too
    with _folder(chosen, model.model, dtype, seed, tick) as folder:
        configurations = _configurations(load, sweep, dataclasses.replace(launch, model=folder))
        question = words_of(settings) if chosen is not None else lambda number: QUESTION
        return run(
            configurations,
            Requests(settings, question),
            settings,
            folder,
            _conditions(chosen, model.model, settings, device, dtype, load),
            output=output,
            resume=resume,
            command=" ".join(["todre", *map(shlex.quote, sys.argv[1:])]),
            tick=tick,
        )


def _device(model: ModelOptions) -> tuple[str, str]:
    """Names of the device and dtype; dtype auto is bfloat16."""
    from todre.loading.model import as_device

    return as_device(model.device).type, "bfloat16" if model.dtype == "auto" else model.dtype


@contextmanager
def _folder(chosen: Preset | None, name: str | None, dtype: str, seed: int, tick: Tick) -> Iterator[str]:
    """The model's folder or hub id; a preset is written into a temporary folder."""
    if chosen is None:
        yield str(name)
        return
    import torch

    from todre.bench.random_checkpoint import save_random_checkpoint

    with tempfile.TemporaryDirectory(prefix="todre-random-") as folder:
        tick(f"writing the random weights of {chosen.name}")
        save_random_checkpoint(chosen, Path(folder), getattr(torch, dtype), seed)
        yield folder


def _launch(load: ServeOptions, sweep: SweepOptions, device: str, dtype: str) -> Launch:
    """How an engine's servers are started."""
    from todre.bench.load.engines import Launch

    methods = tuple(sweep.methods or METHODS)
    if methods == (ALL,) or any(":" in each for each in methods):
        raise typer.BadParameter(
            f"--methods {','.join(methods)} cannot be served; name methods without settings, or give their JSON files."
        )
    if load.one_server and load.engine != "vllm":
        raise typer.BadParameter("--one-server is for --engine vllm; leave it out.")
    threads = only("--threads", sweep.threads)
    return Launch(
        python=load.server_python or sys.executable,
        dtype=dtype,
        device=device,
        environment={"OMP_NUM_THREADS": str(threads)} if threads else {},
        options=load.server_options or (),
        one_server=load.one_server,
    )


def _configurations(load: ServeOptions, sweep: SweepOptions, launch: Launch) -> list[Configuration]:
    """The servers of --servers, or those of an engine."""
    from todre.bench.load.configurations import read_configurations
    from todre.bench.load.engines import transformers_configurations, vllm_configurations

    if load.servers is not None:
        return read_configurations(load.servers)
    return (vllm_configurations if load.engine == "vllm" else transformers_configurations)(launch, _subjects(sweep))


def _subjects(sweep: SweepOptions) -> list[Subject]:
    """What is compared: no pruning, and the methods at their budgets."""
    from todre.bench.load.engines import subjects_of

    return subjects_of(sweep.methods or METHODS, RETAINS if sweep.retain is None else sweep.retain)


def served_files(sweep: SweepOptions, load: ServeOptions) -> tuple[str | Path | None, ...]:
    """Files that the run reads, which its result must not replace."""
    return (load.servers, *files_among(",".join(sweep.methods or ())))


def _conditions(
    chosen: Preset | None, name: str | None, settings: LoadSettings, device: str, dtype: str, load: ServeOptions
) -> dict[str, Any]:
    """Facts about the model and the machine."""
    import torch

    from todre.bench.conditions import machine
    from todre.bench.random_models import parameters
    from todre.geometry import count_visual_tokens

    height, width = settings.picture
    facts: dict[str, Any] = {"name": name, "weights": "checkpoint", "visual_tokens": None, "parameters": None}
    if chosen is not None:
        count, _ = count_visual_tokens(chosen.make_config(), (width, height))
        facts = {"name": chosen.name, "weights": "random", "visual_tokens": count, "parameters": parameters(chosen)}
    engine = "servers" if load.servers is not None else load.engine or "transformers"
    return {"model": {**facts, "dtype": dtype}, "engine": engine, "machine": machine(torch.device(device))}
