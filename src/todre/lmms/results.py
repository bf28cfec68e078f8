"""Readers of lmms-eval's results: scores of each task, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.files import Kind, making_sense, printable, read_json, read_lines
from todre.files.shapes import ANY, OBJECT, Each, Shape

_DOCUMENT: Shape = {"results": Each(OBJECT), "config?": (OBJECT, None)}
RESULTS = Kind("lmms-eval did not write it; remove it, or run it again", _DOCUMENT, lenient=True)
"""Kind of a file of results."""
SAMPLES = Kind("run lmms-eval again with --log_samples", {"doc_id": ANY}, most=2**31, lenient=True)
"""Kind of a file with the answer to each question."""
_RESULTS, _SAMPLES = "_results.json", "_samples_"


def read_results(folder: str | Path) -> dict[str, dict[str, float]]:
    """Metrics of each task and group.

    A later run of a task in the same folder replaces an earlier one.

    Args:
        folder: lmms-eval's `--output_path`.

    Returns:
        {task: {metric: value}}. Metrics have the names that the task gives them; a standard error has its metric's
        name with `_stderr`. Where a task has filters, the name is `metric,filter`.

    Raises:
        InvalidValueError: there are no results, or results of runs with different arguments of the model.
    """
    by_task: dict[str, dict[str, float]] = {}
    first: tuple[Path, Any] | None = None
    for file in _files(Path(folder)):
        document = read_json(file, RESULTS)
        arguments = (document.get("config") or {}).get("model_args")
        first = first or (file, arguments)
        if arguments != first[1]:
            raise InvalidValueError(
                f"{printable(Path(folder))} holds results of runs with {printable(repr(first[1]))} and with "
                f"{printable(repr(arguments))}; "
                "give each run a folder of its own."
            )
        by_task |= {task: _metrics(values) for task, values in document["results"].items()}
    return by_task


def read_samples(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The logged questions of each task, in the documents' order.

    A later run of a task replaces an earlier one. Each question has `doc_id`, `target`, `filtered_resps` (the answer),
    the task's metrics, and `token_counts`, where the model says what it pruned (`todre.lmms.model.Counts`).

    Raises:
        InvalidValueError: there are no results.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for file in _files(Path(folder)):
        start = file.name.removesuffix(_RESULTS) + _SAMPLES
        for samples in sorted(file.parent.glob(f"{start}*.jsonl")):
            lines = [line for _, line in read_lines(samples, SAMPLES)]
            with making_sense(samples, SAMPLES):
                by_task[samples.stem.removeprefix(start)] = sorted(lines, key=lambda line: int(line["doc_id"]))
    return by_task


def _files(folder: Path) -> Iterator[Path]:
    """Result files, the earliest first; their names begin with date and time."""
    files = sorted(folder.rglob(f"*{_RESULTS}"), key=lambda file: file.name)
    if not files:
        raise InvalidValueError(
            f"{folder} holds no results of lmms-eval (*{_RESULTS}); the run failed, and its output says why."
        )
    yield from files


def _metrics(values: dict[str, Any]) -> dict[str, float]:
    """The numbers among a task's metrics, without the name of the filter "none"."""
    return {
        name.removesuffix(",none"): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
