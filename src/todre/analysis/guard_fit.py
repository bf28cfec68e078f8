"""Calibration of the guard: the signal and threshold that catch the harm.

Each question is answered once without pruning and once with the method, while a guard that never fires looks at every
signal. A guard that leaves pictures whole gives the first answer where a signal is above its threshold, and the second
elsewhere, so the score under any threshold follows from these records. One half of the pictures chooses the signal and
the threshold that leave the fewest pictures whole within the allowed loss; the other half checks the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from todre.analysis.calibrate import halves
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion, check_marked
from todre.analysis.results import Job, Record, measure_all
from todre.analysis.summary import Table, ranks
from todre.fields import Checked, Range
from todre.fields.kinds import Count
from todre.hf.greedy_decoding import greedy_settings
from todre.loading.model import Loaded
from todre.methods.base import Method, NoPruning
from todre.methods.guard import Guard, save
from todre.pruning import prune

SIGNALS = ("radius", "rank", "text", "entropy")
"""Signals of a guard, by name of their field."""
_WATCHING = Guard(radius=2.0, rank=1e300, text=1.0, entropy=1.0)
"""A guard that looks at every signal, and whose thresholds nothing exceeds."""
_MOST_POINTS = 24
_SHARES = ("text", "entropy")  # their thresholds lie above 0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GuardGoal(Checked):
    """Goal of a guard's calibration.

    Args:
        method: the method with its budget; it chooses before the LLM.
        loss: score that may be lost against no pruning, from 0 to 1; the whole 95 % interval of the paired difference
            must lie above -loss.
        max_new_tokens: longest answer.
    """

    method: Method
    loss: Annotated[float, Range(least=0, below=1, called="a share of the questions")] = 0.01
    max_new_tokens: Count = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        _WATCHING.check(self.method)

    def parameters(self) -> dict[str, Any]:
        """Every setting that can change a record, ready for JSON."""
        return {"method": self.method.to_dict(), "max_new_tokens": self.max_new_tokens}


def answers_of(loaded: Loaded, questions: Sequence[PictureQuestion], goal: GuardGoal) -> list[Record]:
    """Scores of each question without pruning and with it, and the picture's signals.

    Of a picture that the model encodes as several, the highest of each signal counts. The records are ready for JSON.
    """
    prompts = prompts_of(loaded, questions)
    records: list[Record] = [{} for _ in questions]
    for name, method in (("none", NoPruning()), ("pruned", goal.method)):
        with torch.inference_mode(), prune(loaded.model, method, guard=_WATCHING) as report:
            tokens = loaded.model.generate(**prompts.inputs, **greedy_settings(goal.max_new_tokens))
        new = tokens[:, prompts.kinds.shape[1] :]
        texts = loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        for row, (record, one) in enumerate(zip(records, questions, strict=True)):
            record[name] = round(one.mark(texts[row].strip()), 6)
            if name == "pruned":
                record["kept"] = report.visual_tokens_after[row] / report.visual_tokens_before[row]
                for signal in SIGNALS:
                    found = [getattr(seen, signal) for seen in report.guarded[row]]
                    record[signal] = max((value for value in found if value is not None), default=None)
    return records


def calibrate_guard(job: Job, goal: GuardGoal) -> dict[str, Any]:
    """The document of a calibration; `guard` in it is the guard that was found."""
    questions = job.source.questions()
    halves([question.facts() for question in questions])
    check_marked(questions)
    measured = measure_all(job, lambda questions: answers_of(job.loaded, questions, goal))
    return document(measured.records, goal) | {"command": job.command, "conditions": measured.conditions}


def save_guard(document: dict[str, Any], output: Path) -> Path:
    """Write the guard that was found to a file beside the document; returns its path."""
    path = output.with_suffix(".guard.json")
    save(Guard.from_dict(document["guard"]), path)
    return path


def document(records: list[Record], goal: GuardGoal) -> dict[str, Any]:
    """Document of the choice, its check on the other half, and each signal's curve."""
    choosing, checking = halves(records)
    found = best(choosing, goal.loss)
    signal, threshold = found
    result: dict[str, Any] = {
        "what": "the signal and threshold that leave the fewest pictures whole within a loss of score",
        "loss_allowed": goal.loss,
        "method": goal.method.to_dict(),
        "signal": signal,
        "guard": guard_of(signal, threshold).to_dict(),
    }
    for name, mine in (("chosen_on", choosing), ("checked_on", checking)):
        result[name] = effect(mine, signal, threshold)
    low = result["checked_on"]["difference"]["low"]
    result["confirmed"] = low is not None and low >= -goal.loss
    result["signals"] = {name: _curve(records, name) for name in SIGNALS}
    result["records"] = records
    return result


def guard_of(signal: str, threshold: float) -> Guard:
    """The guard that leaves pictures whole where one signal is above a threshold."""
    chosen: dict[str, Any] = {name: threshold if name == signal else None for name in SIGNALS}
    return Guard(action="refuse", **chosen)


def best(records: Sequence[Record], loss: float) -> tuple[str, float]:
    """The signal and threshold within the loss that leave the fewest pictures whole.

    Ties go to the first of `SIGNALS`. A threshold that leaves every picture whole is always within the loss.
    """
    table = Table.of(records)
    options: list[tuple[float, int, str, float]] = []
    for place, signal in enumerate(SIGNALS):
        for threshold in thresholds(records, signal):
            made = effect(records, signal, threshold, table)
            low = made["difference"]["low"]
            if low is not None and low >= -loss:
                options.append((made["whole"], place, signal, threshold))
    _, _, signal, threshold = min(options)
    return signal, threshold


def thresholds(records: Sequence[Record], signal: str) -> list[float]:
    """Candidates: the values that were seen, and one below them all, ascending.

    A picture is left whole where its signal is above. Above the highest value none is, below the lowest all are.
    """
    seen = sorted({record[signal] for record in records if record[signal] is not None})
    if not seen or (signal in _SHARES and seen[0] <= 0):
        return seen
    return [seen[0] / 2, *seen]


def effect(records: Sequence[Record], signal: str, threshold: float, table: Table | None = None) -> dict[str, Any]:
    """What a guard does: the share of pictures that it leaves whole, and what is lost.

    Args:
        records: of `answers_of`.
        signal, threshold: a picture is left whole where the signal is known and above.
        table: of the records, where it is at hand.
    """
    whole = np.array([record[signal] is not None and record[signal] > threshold for record in records])
    change = _changes(records)
    kept = np.where(whole, 1.0, [record["kept"] for record in records])
    return {
        "questions": len(records),
        "whole": round(float(whole.mean()), 6),
        "kept": round(float(kept.mean()), 6),
        "unguarded": (table or Table.of(records)).mean(change),
        "difference": (table or Table.of(records)).mean(np.where(whole, 0.0, change)),
    }


def _changes(records: Sequence[Record]) -> Floats:
    """Change of each question's score by pruning, (n,)."""
    return np.array([record["pruned"] - record["none"] for record in records], dtype=np.float64)


def _curve(records: Sequence[Record], signal: str) -> dict[str, Any]:
    """How a signal goes with the loss over all questions, and what thresholds do.

    The correlation is Spearman's, of the signal with the loss; above 0, the signal foretells harm.
    """
    known = [record for record in records if record[signal] is not None]
    if not known:
        return {"known": 0, "correlation": None, "points": []}
    table = Table.of(known)
    values = np.array([record[signal] for record in known], dtype=np.float64)
    every = thresholds(records, signal)
    some = every[:: max(1, -(-len(every) // _MOST_POINTS))]
    return {
        "known": len(known),
        "correlation": table.correlation(ranks(values), ranks(-_changes(known))),
        "points": [{"threshold": value, **effect(records, signal, value)} for value in some],
    }
