"""Cells of a table on a real model: one method on one task of lmms-eval.

Each finished cell is kept in its own file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from todre.environment import versions
from todre.errors import InvalidValueError, LoadError, MissingDependencyError, TodreError
from todre.evaluate.runner import model_sha256, revision_of
from todre.fields import Checked
from todre.fields.kinds import Count
from todre.files import Kind, new_folder, read_json, sha256, write_atomic
from todre.files.shapes import COUNT, NUMBER, Each
from todre.lmms import command, read_results, read_samples
from todre.methods import registry
from todre.methods.shared.identity import identity_of
from todre.reproduce.benchmarks import Benchmark
from todre.reproduce.subjects import Subject

TASK = Kind("restore it, or give another --include-path", most=2**28)
"""Kind of file: a definition of a task of lmms-eval."""
_OF_TASKS = (".yaml", ".yml", ".py", ".json", ".jsonl")
CELL = Kind("remove it to run it again", {"metrics": Each(NUMBER), "questions": COUNT, "seconds": NUMBER}, lenient=True)
"""Kind of the file of a finished cell."""


@dataclass(frozen=True)
class Run(Checked):
    """The model and settings of cells, and how lmms-eval is run.

    Args:
        model: folder or hub id.
        folder: folder of the reproduction; cells, logs and lmms-eval's own files lie in folders below.
        limit: questions of each task; None for all.
        batch_size: questions answered together.
        ranks: processes that share the questions, each with a model.
        options: `device`, `dtype`, `attn_implementation`, `trust_remote_code`, as lmms-eval's model takes them.
        include_path: folder of further tasks.
        python: the Python of the environment that has lmms-eval and todre.
    """

    model: str
    folder: Path
    limit: Count | None = None
    batch_size: Count = 1
    ranks: Count = 1
    options: dict[str, Any] = field(default_factory=dict)
    include_path: Path | None = None
    python: str = sys.executable

    @functools.cached_property
    def conditions(self) -> dict[str, Any]:
        """Conditions that a cell's numbers depend on, ready for JSON; looked up once."""
        return {
            "model": self.model,
            **_weights(self.model),
            "limit": self.limit,
            "batch_size": self.batch_size,
            "ranks": self.ranks,
            "options": self.options,
            "versions": versions(),
            "harness": _harness(self.python),
            **({} if self.include_path is None else {"tasks": _tasks(self.include_path)}),
        }


@dataclass(frozen=True)
class Cell:
    """One method on one task."""

    subject: Subject
    task: str

    def file(self, run: Run) -> Path:
        """The file of the cell's numbers; other methods, models or limits have others."""
        facts = {**run.conditions, "method": identity_of(self.subject.method), "task": self.task}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        name = re.sub(r"[^\w.@+-]+", "_", f"{self.subject.key}--{self.task}")[:100]
        return run.folder / "cells" / f"{name}--{digest}.json"


def cells(subjects: Sequence[Subject], benchmarks: Sequence[Benchmark]) -> tuple[Cell, ...]:
    """All cells, method by method; cells without pruning come first."""
    return tuple(Cell(subject, task) for subject in subjects for benchmark in benchmarks for task in benchmark.tasks)


def finished(cell: Cell, run: Run) -> dict[str, Any] | None:
    """The numbers of a finished cell; None where it has not been run.

    The numbers are `metrics`, `questions` and `seconds`.
    """
    file = cell.file(run)
    if not os.path.lexists(file):
        return None
    found = read_json(file, CELL)
    return {name: found[name] for name in ("metrics", "questions", "seconds")}


def measure(cell: Cell, run: Run) -> dict[str, Any]:
    """Run a cell through lmms-eval, and save the cell's numbers.

    Raises:
        TodreError: lmms-eval failed; the message names the log file.
    """
    file = cell.file(run)
    place = run.folder / "lmms-eval" / file.stem
    for folder in (file.parent, place):
        new_folder(folder, parents=True)
    method = place / "method.json"
    registry.save(cell.subject.method, method)
    log = place / "log.txt"
    arguments = command(
        [cell.task], place / "results", model=run.model, method=str(method), options=run.options,
        batch_size=run.batch_size, limit=run.limit, ranks=run.ranks, include_path=run.include_path, python=run.python,
    )  # fmt: skip
    shutil.rmtree(place / "results", ignore_errors=True)  # of an earlier attempt, whose numbers are not this one's
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.run(arguments, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - started
    try:
        if code:
            raise InvalidValueError(f"lmms-eval ended with exit code {code}.")
        metrics = read_results(place / "results")[cell.task]
        questions = len(read_samples(place / "results")[cell.task])
    except (InvalidValueError, KeyError) as error:
        raise TodreError(
            f"lmms-eval did not finish {cell.task}: {_last_error(log)} (all it said is in {log})"
        ) from error
    found = {"metrics": metrics, "questions": questions, "seconds": round(seconds, 2)}
    facts = {**run.conditions, "task": cell.task, "method": cell.subject.method.to_dict(), "command": arguments}
    write_atomic(file, json.dumps({**found, "conditions": facts}, indent=1) + "\n")
    return found


def require_lmms_eval(python: str) -> None:
    """Raise `MissingDependencyError` unless `python` has lmms-eval and todre."""
    if python == sys.executable:
        there = importlib.util.find_spec("lmms_eval") is not None
    else:
        look = "import importlib.util as u, sys; sys.exit(not (u.find_spec('lmms_eval') and u.find_spec('todre')))"
        try:
            there = subprocess.run([python, "-c", look], capture_output=True, check=False).returncode == 0
        except OSError as error:
            raise MissingDependencyError(f"{python} cannot be run ({error.strerror}); give a Python.") from error
    if not there:
        raise MissingDependencyError(
            f"Papers' benchmarks run through lmms-eval, which {python} does not have together with todre; run "
            "`pip install lmms-eval`, give the Python that has it with --python, or look on now with --on tiny."
        )


def _harness(python: str) -> str:
    """Versions of lmms-eval and todre in the environment that answers.

    Empty where they are not to be had.
    """
    code = "from importlib.metadata import version; print(version('lmms_eval'), version('todre'))"
    try:
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):  # the run itself says what is wrong with it
        return ""
    return asked.stdout.strip()


def _tasks(folder: Path) -> str:
    """A digest of the files that define further tasks."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _OF_TASKS):
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file, TASK)}\n".encode())
    return digest.hexdigest()[:16]


def _weights(model: str) -> dict[str, str | None]:
    """What tells apart checkpoints that were found under one name at different times.

    It is a digest of configuration and weights, and of the names and sizes of a folder's other files. For a hub id it
    is the commit, if that can be found out; a run without it says itself what is wrong.
    """
    folder = Path(model).expanduser()
    try:
        commit = revision_of(model)
        content = model_sha256(model)
    except LoadError:
        return {"weights": None}
    if content == model:
        return {"weights": None, **({} if commit is None else {"revision": commit})}
    there = folder.iterdir() if folder.is_dir() else ()
    files = sorted((file.name, file.stat().st_size) for file in there if file.is_file())
    return {"weights": hashlib.sha256(json.dumps([content, files]).encode()).hexdigest()[:16]}


def _last_error(log: Path) -> str:
    """The last line of a log that reports an error, or else the log's last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"(Error|Exception)\b.*:", line)]
    return (telling or lines or ["it said nothing"])[-1][:300]
