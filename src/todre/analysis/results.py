"""Runs of an instrument: batch by batch, resumable, to one document and figure."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.analysis.questions import PictureQuestion, Source
from todre.environment import versions
from todre.errors import InvalidValueError
from todre.evaluate.runner import model_sha256
from todre.fields import Checked
from todre.fields.kinds import Count
from todre.files import Kind, append, printable, read_finished, write_atomic
from todre.files.shapes import COUNT, NUMBER, OBJECT, misfit
from todre.loading.model import Loaded

WORKING = Kind("remove it to start anew, or write elsewhere", most=2**30)
"""Kind of file: the working file of an instrument."""
_LINE = {"place": COUNT, "seconds": NUMBER, "record": OBJECT}
Record = dict[str, Any]
"""Measurement of one question, ready for JSON."""
Measure = Callable[[Sequence[PictureQuestion]], list[Record]]
Tick = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""


def silent(done: int, total: int) -> None:
    """A tick that shows nothing."""


@dataclass(frozen=True)
class Job(Checked):
    """One run of an instrument.

    Attributes:
        instrument: its name.
        parameters: every setting that can change a number, ready for JSON.
        loaded: model and processor.
        source: source of the questions.
        output: path of the JSON document; until the run is done, the working file lies beside it.
        batch_size: number of questions measured together; it changes no number beyond rounding.
        command: the command line.
        tick: shows progress.
        figure: path of the figure; None puts it beside the document.
    """

    instrument: str
    parameters: dict[str, Any]
    loaded: Loaded
    source: Source
    output: Path
    batch_size: Count = 8
    command: str = ""
    tick: Tick = silent
    figure: Path | None = None

    @property
    def working(self) -> Path:
        """Path of the working file, which holds the finished questions."""
        return self.output.with_suffix(".partial.jsonl")

    @property
    def drawn(self) -> Path:
        """Path of the figure."""
        return self.figure or self.output.with_suffix(".png")


@dataclass(frozen=True)
class Measured:
    """All records of a job, in the order of the questions, and its conditions."""

    records: list[Record]
    conditions: dict[str, Any]


def measure_all(job: Job, measure: Measure) -> Measured:
    """Records of every question of `job`; an interrupted run's records are kept.

    Each batch is written to the working file as soon as it is done; `finish` removes the file.

    Raises:
        InvalidValueError: the working file belongs to another run.
    """
    questions = job.source.questions()
    head = _head(job, questions)
    done = _read(job.working, head)
    lines = [head, *({"place": place, **line} for place, line in sorted(done.items()))]
    write_atomic(job.working, "".join(_line(line) + "\n" for line in lines))
    pending = [place for place in range(len(questions)) if place not in done]
    job.tick(len(done), len(questions))
    with job.working.open("ab") as stream:
        for start in range(0, len(pending), job.batch_size):
            places = pending[start : start + job.batch_size]
            started = time.process_time()
            records = measure([questions[place] for place in places])
            seconds = round((time.process_time() - started) / len(places), 4)
            for place, record in zip(places, records, strict=True):
                done[place] = {"seconds": seconds, "record": {**questions[place].facts(), **record}}
                append(stream, _line({"place": place, **done[place]}), job.working)
            job.tick(len(done), len(questions))
    seconds = sum(line["seconds"] for line in done.values())
    records = [json.loads(json.dumps(done[place]["record"])) for place in range(len(questions))]
    return Measured(records, _conditions(job, head, seconds))


def finish(job: Job, document: dict[str, Any], draw: Callable[[dict[str, Any], Path], None]) -> None:
    """Write the figure and the whole document, then remove the working file."""
    draw(document, job.drawn)
    write_atomic(job.output, as_text(document))
    job.working.unlink(missing_ok=True)


def as_text(document: dict[str, Any]) -> str:
    """JSON text of the document, one line per record; the records come last."""
    head = {name: value for name, value in document.items() if name != "records"}
    records = [json.dumps(record, allow_nan=False) for record in document["records"]]
    whole = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    return whole + ',\n "records": [\n  ' + ",\n  ".join(records) + "\n ]\n}\n"


def _head(job: Job, questions: Sequence[PictureQuestion]) -> dict[str, Any]:
    """Settings that must be equal for a working file to be continued."""
    facts = {**job.loaded.facts(), "sha256": model_sha256(str(job.loaded.path))}
    head = {
        "instrument": job.instrument,
        "parameters": job.parameters,
        "model": facts,
        "source": job.source.facts(questions),
        "versions": versions(),
    }
    same: dict[str, Any] = json.loads(json.dumps(head))
    return same


def _read(file: Path, head: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Finished questions of a working file, by 0-based index.

    An unfinished last line is left out.
    """
    done: dict[int, dict[str, Any]] = {}
    for number, line in read_finished(file, WORKING):
        if number == 1:
            if line != head:
                raise InvalidValueError(
                    f"{printable(file)} holds unfinished work of another run ({_difference(line, head)}); "
                    "finish that run, remove the file, or write elsewhere."
                )
            continue
        wrong = misfit(line, _LINE)
        if wrong:
            raise WORKING.wrong(f"Line {number} of {printable(file)}", wrong)
        done[line["place"]] = {"seconds": line["seconds"], "record": line["record"]}
    return done


def _difference(other: Any, head: dict[str, Any]) -> str:
    """Words for the first part in which two headers differ."""
    parts = [name for name in head if not isinstance(other, dict) or other.get(name) != head[name]]
    if parts[:1] != ["versions"]:
        return f"with another {parts[0]}" if parts else "of another kind"
    then, now = other.get("versions"), head["versions"]
    if not isinstance(then, dict):
        return "by an earlier version of todre"
    name = next(name for name in [*now, *then] if then.get(name) != now.get(name))
    return f"with {name} {printable(str(then.get(name)))}, and not {now.get(name)}"


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False)


def _conditions(job: Job, head: dict[str, Any], seconds: float) -> dict[str, Any]:
    import torch

    return {
        "model": head["model"],
        "parameters": head["parameters"],
        "questions": head["source"],
        "versions": head["versions"],
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "batch_size": job.batch_size,
        "mode": "drop",
        "decoding": "greedy",
        "core_seconds": round(seconds, 1),
    }
