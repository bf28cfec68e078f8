"""Runs over groups of scenes under many conditions, in parallel and resumable."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from todre.environment import versions
from todre.errors import InvalidValueError
from todre.evaluate.conditions import Condition
from todre.files import Kind, append, new_folder, open_locked, read_finished
from todre.files.shapes import COUNT, NUMBER, OBJECT, TEXT

if TYPE_CHECKING:
    from todre.evaluate.session import Session, Settings

Ticker = Callable[[Iterable["Line"], int], Iterator["Line"]]
WORKING = Kind(
    "remove it to start anew",
    {"condition": TEXT, "group": COUNT, "seconds": NUMBER, "records": [OBJECT]},
    most=2**31,
    lenient=True,
)
"""Kind of file: the working file of a run."""
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483648"}
"""Settings that make glibc keep freed memory.

Otherwise glibc returns each large tensor to the system, which costs up to half the time.
"""


@dataclass(frozen=True)
class Task:
    """One group of pictures under one condition."""

    group: int
    condition: Condition

    @property
    def key(self) -> tuple[str, int]:
        """Key of the task in the working file: all fields of the condition, and the group."""
        return json.dumps(self.condition.to_dict(), sort_keys=True), self.group


@dataclass(frozen=True)
class Line:
    """A task's answers, one line of the working file.

    Attributes:
        condition: every field of the condition, as sorted JSON.
        group: number of the group of pictures.
        seconds: processor time.
        records: `todre.evaluate.session.Record`s as dictionaries.
    """

    condition: str
    group: int
    seconds: float
    records: list[dict[str, Any]]


@dataclass(frozen=True)
class Answers:
    """All answers of a run.

    Attributes:
        by_condition: name of the condition to its records, in the order of the pictures and their questions.
        core_seconds: processor time spent on answering, over all processes and interrupted runs.
    """

    by_condition: dict[str, list[dict[str, Any]]]
    core_seconds: float


def run(
    settings: Settings,
    conditions: Sequence[Condition],
    pictures: int,
    work: Path,
    *,
    processes: int = 1,
    session: Session | None = None,
    ticker: Ticker | None = None,
) -> Answers:
    """Answer every question about the first `pictures` scenes under each condition.

    Each group is written to `work` as soon as it is answered. Answers already in `work`, from an interrupted run or
    another command, are not repeated. The result depends neither on earlier answers, nor on `processes` or batch size.

    Args:
        settings: model and questions.
        conditions: with distinct names.
        pictures: number of scenes, a multiple of the group size.
        work: folder for the working file.
        processes: number of processes; more than one answer in parallel, each on one thread.
        session: a loaded model to use when `processes` is 1.
        ticker: passes finished lines on and shows progress; a bar on stderr by default.

    Raises:
        InvalidValueError: `pictures`, `processes` or the names cannot be used.
    """
    _check(settings, conditions, pictures, processes)
    file = work / f"answers-{fingerprint(settings)}.jsonl"
    new_folder(work, parents=True)
    tasks = [Task(group, condition) for group in range(pictures // settings.group_size) for condition in conditions]
    with open_locked(file, "--work") as stream:
        done = read_lines(file)
        stream.truncate(_whole_lines(stream))  # a kill may have cut the last one off
        pending = [task for task in tasks if task.key not in done]
        lines = _inline(session, settings, pending) if processes == 1 else _parallel(settings, pending, processes)
        for line in (ticker or progress_bar)(lines, len(pending)):
            append(stream, _as_json(line), file)
            done[line.condition, line.group] = line
    results = [done[task.key] for task in tasks]
    by_condition: dict[str, list[dict[str, Any]]] = {condition.name: [] for condition in conditions}
    for task, line in zip(tasks, results, strict=True):
        by_condition[task.condition.name] += line.records
    return Answers(by_condition, sum(line.seconds for line in results))


def _whole_lines(stream: BinaryIO) -> int:
    """Number of bytes up to the end of the last whole line; the stream stands there."""
    end = 0
    stream.seek(0)
    for line in stream:
        end += len(line) if line.endswith(b"\n") else 0
    stream.seek(end)
    return end


def fingerprint(settings: Settings) -> str:
    """Short hash of all that can change an answer: model, settings, versions."""
    values = {name: value for name, value in asdict(settings).items() if name not in ("batch_size", "model")}
    return hashlib.sha256(json.dumps([model_sha256(settings.model), values, versions()]).encode()).hexdigest()[:16]


def model_sha256(model: str | None) -> str:
    """SHA-256 of a model folder's configuration and weights; a hub id stays as it is.

    Raises:
        LoadError: the decoder of a model that has a name was not fetched yet.
    """
    from todre import shipped
    from todre.tiny import SHIPPED

    name = model or SHIPPED
    folder = Path(name).expanduser()
    if model is None or (name in shipped.names() and not folder.is_dir()):
        return shipped.model_sha256(name)
    return shipped.folder_sha256(folder) if folder.is_dir() else name


def revision_of(model: str | None) -> str | None:
    """The commit of a model on the hub, or in its cache; None for a folder.

    Raises:
        LoadError: the model is neither there nor in the cache.
    """
    from todre.hub import HUB_ID, fetch_config
    from todre.shipped import names

    if model is None or model in names() or Path(model).expanduser().exists() or not HUB_ID.fullmatch(model):
        return None
    return fetch_config(model).name  # a snapshot's folder is named by its commit


def read_lines(file: Path) -> dict[tuple[str, int], Line]:
    """The finished lines of a working file; an unfinished last one is left out.

    Raises:
        InvalidValueError: any other line is damaged.
    """
    fields = ("condition", "group", "seconds", "records")
    found = [Line(**{name: values[name] for name in fields}) for _, values in read_finished(file, WORKING)]
    return {(line.condition, line.group): line for line in found}


def progress_bar(lines: Iterable[Line], total: int) -> Iterator[Line]:
    """Pass `lines` on, and show progress and the time left on stderr."""
    columns = (TextColumn("answering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("answering", total=total)
        for line in lines:
            yield line
            bar.advance(task)


def check_groups(settings: Settings, pictures: int) -> None:
    """Check that pictures make whole groups.

    Raises:
        InvalidValueError: they do not, so that some would not be answered.
    """
    if pictures < 1 or pictures % settings.group_size:
        raise InvalidValueError(
            f"{pictures} pictures do not make whole groups of {settings.group_size}; give a multiple of that."
        )


def _check(settings: Settings, conditions: Sequence[Condition], pictures: int, processes: int) -> None:
    check_groups(settings, pictures)
    if processes < 1:
        raise InvalidValueError(f"processes must be a whole number of at least 1, not {processes!r}.")
    names = [condition.name for condition in conditions]
    if len(set(names)) < len(names):
        raise InvalidValueError(f"Two conditions have the same name among {', '.join(names)}; rename one.")


def _as_json(line: Line) -> str:
    return json.dumps(asdict(line))


def _answer(session: Session, task: Task) -> Line:
    condition, group = task.key
    records, seconds = session.answer_group(task.group, task.condition)
    return Line(condition, group, round(seconds, 3), json.loads(json.dumps([record.to_dict() for record in records])))


def _inline(session: Session | None, settings: Settings, tasks: Sequence[Task]) -> Iterator[Line]:
    from todre.evaluate.session import Session

    if not tasks:
        return
    answering = session or Session(settings)
    for task in tasks:
        yield _answer(answering, task)


def _parallel(settings: Settings, tasks: Sequence[Task], processes: int) -> Iterator[Line]:
    if not tasks:
        return
    for name, value in {"OMP_NUM_THREADS": "1", **_ALLOCATOR}.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context)
    try:
        for future in as_completed([pool.submit(_answer_in_worker, settings, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _answer_in_worker(settings: Settings, task: Task) -> Line:
    return _answer(_worker_session(settings), task)


@functools.lru_cache(maxsize=1)
def _worker_session(settings: Settings) -> Session:
    """The worker's own model, loaded for its first task."""
    import torch

    from todre.evaluate.session import Session

    torch.set_num_threads(1)
    return Session(settings)
