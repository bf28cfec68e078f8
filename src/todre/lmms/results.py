"""What lmms-eval wrote: the scores of each task, and what was said to each question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError

_RESULTS, _SAMPLES = "_results.json", "_samples_"


def read_results(folder: str | Path) -> dict[str, dict[str, float]]:
    """Metrics of each task and group; a later run of a task in the same folder replaces an earlier one.

    Args:
        folder: what was given to lmms-eval as `--output_path`.

    Returns:
        {task: {metric: value}}. A metric is named as the task names it, standard errors with `_stderr` behind; where a
        task has filters, `metric,filter`.

    Raises:
        InvalidValueError: there are no results, or results of runs with different arguments of the model.
    """
    found: dict[str, dict[str, float]] = {}
    first: tuple[Path, Any] | None = None
    for file in _files(Path(folder)):
        document = _document(file)
        arguments = document.get("config", {}).get("model_args")
        first = first or (file, arguments)
        if arguments != first[1]:
            raise InvalidValueError(
                f"{folder} holds results of runs with {first[1]!r} and with {arguments!r}; "
                "give each run a folder of its own."
            )
        found |= {task: _metrics(values) for task, values in document["results"].items()}
    return found


def read_samples(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The questions of each task in the documents' order, as lmms-eval logs them; of several runs the latest.

    Each has `doc_id`, `target`, `filtered_resps` (the answer), the task's metrics, and `token_counts`, where the model
    tells what it pruned (`todre.lmms.counts`).

    Raises:
        InvalidValueError: there are no results.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for file in _files(Path(folder)):
        start = file.name.removesuffix(_RESULTS) + _SAMPLES
        for samples in sorted(file.parent.glob(f"{start}*.jsonl")):
            lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
            found[samples.stem.removeprefix(start)] = sorted(lines, key=lambda line: int(line["doc_id"]))
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Result files, the earliest first; their names begin with date and time."""
    files = sorted(folder.rglob(f"*{_RESULTS}"), key=lambda file: file.name)
    if not files:
        raise InvalidValueError(
            f"{folder} holds no results of lmms-eval (*{_RESULTS}); the run failed, and its output says why."
        )
    yield from files


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{file} cannot be read as results of lmms-eval ({error}); run it again.") from error
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
        raise InvalidValueError(f"{file} has no results in it, so lmms-eval did not write it; remove it.")
    return document


def _metrics(values: dict[str, Any]) -> dict[str, float]:
    """Numbers alone, without the name of the filter that does nothing."""
    return {
        name.removesuffix(",none"): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
