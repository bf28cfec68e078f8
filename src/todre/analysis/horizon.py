"""The information horizon: the layer after which no visual token matters.

arXiv 2512.07580. After layer i all visual tokens are dropped except those of one window V_k. The window's
information is I_i(V_k) = p_k - p_text: the probability of the true answer's first token with V_k left, minus its
probability with no visual token left. Tokens are really dropped, inside the decoder, and the other tokens keep their
positions. Windows of one token give the metric of the paper's text; windows of 2 × 2 give the metric of its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from todre.analysis.prompts import first_answer_token, prompts_of
from todre.analysis.questions import PictureQuestion
from todre.analysis.results import Job, Measured, Record, measure_all
from todre.analysis.retention_probe import Prober
from todre.analysis.summary import Table
from todre.analysis.windows import windows_of
from todre.errors import InvalidValueError
from todre.fields import Checked, Items, Range
from todre.fields.kinds import Count
from todre.geometry import visual_token_boxes
from todre.hf.decoder import decoder_of
from todre.loading.model import Loaded


@dataclass(frozen=True)
class Probe(Checked):
    """Settings of the probe of each question.

    Args:
        layers: counts of layers run, ascending.
        window: side of a window in tokens.
        rows: most rows of one forward; changes no number beyond rounding.
        tolerance: an information of at most this much, in either direction, counts as none.
    """

    layers: Annotated[tuple[Count, ...], Items(least=1, ascending=True)]
    window: Count = 2
    rows: Count = 32
    tolerance: Annotated[float, Range(above=0, below=1, called="a difference of probabilities")] = 0.01

    @classmethod
    def checked(cls, model: Any, layers: Sequence[int] | None, **values: Any) -> Probe:
        """A probe of `layers`, or of all the model's layers but the last.

        After the last layer nothing is left to drop.

        Raises:
            InvalidValueError: a layer is not below the model's depth.
        """
        depth = decoder_of(model).n_layers
        chosen = tuple(sorted(set(layers))) if layers else tuple(range(1, depth))
        if chosen[0] < 1 or chosen[-1] >= depth:
            raise InvalidValueError(
                f"layers={list(chosen)} goes outside 1 to {depth - 1}: "
                f"this decoder has {depth} layers, and after the last nothing is left to drop."
            )
        return cls(layers=chosen, **values)


def information_of(loaded: Loaded, question: PictureQuestion, probe: Probe) -> Record:
    """Information of every window after every layer of `probe`, ready for JSON."""
    prompts = prompts_of(loaded, [question])
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [question.open().size])
    windows = [tuple(window) for window in windows_of(boxes, probe.window)]
    token = first_answer_token(loaded, question)
    prober = Prober(loaded, prompts, token, probe.rows)
    layers = {}
    for layer in probe.layers:
        text, *kept = prober.after(layer, probe.layers[0], [(), *windows])
        layers[str(layer)] = {"p_text": _short(text), "information": [_short(p - text) for p in kept]}
    name = loaded.processor.tokenizer.decode([token])
    return {"answer_token": name, "p_full": _short(prober.full), "windows": len(windows), "layers": layers}


def _short(value: float) -> float:
    return round(value, 5)


def horizon(job: Job, probe: Probe) -> dict[str, Any]:
    """The document of a run; measures all questions of `job`."""
    measured = measure_all(job, lambda questions: [information_of(job.loaded, one, probe) for one in questions])
    records = [without_windows(record) for record in measured.records]
    return document(Measured(records, measured.conditions), probe, job.command)


def document(measured: Measured, probe: Probe, command: str) -> dict[str, Any]:
    """Document of information by layer and task, with each task's horizon.

    The records must be `without_windows`.

    The horizon of all tokens together uses the absolute change of each question's probability, because gains and
    losses would cancel.
    """
    table = Table.of(measured.records)
    largest = _per_layer(measured.records, probe, lambda one, _: max(abs(one["largest"]), abs(one["smallest"])))
    spread = _per_layer(measured.records, probe, lambda one, _: one["spread"])
    summed = _per_layer(measured.records, probe, lambda one, whole: whole["p_full"] - one["p_text"])
    size = {layer: np.abs(values) for layer, values in summed.items()}
    groups = {"all": np.ones(len(measured.records), dtype=bool), **table.tasks}
    tasks = {}
    for name, mine in groups.items():
        curves = {
            label: [{"layer": layer, **table.mean(np.where(mine, values[layer], np.nan))} for layer in probe.layers]
            for label, values in (
                ("largest", largest),
                ("spread", spread),
                ("all_together", summed),
                ("all_together_size", size),
            )
        }
        tasks[name] = {
            "questions": int(mine.sum()),
            "horizon": first_within([point["mean"] for point in curves["largest"]], probe),
            "horizon_all_together": first_within([point["mean"] for point in curves["all_together_size"]], probe),
            "questions_beyond_layer": {
                str(layer): round(float(np.mean(horizons_of(largest, mine, probe) > layer)), 6)
                for layer in probe.layers
            },
            **curves,
        }
    return {
        "what": "information of visual tokens by layer, and the layer after which it has vanished",
        "command": command,
        "conditions": measured.conditions,
        "tolerance": probe.tolerance,
        "window": probe.window,
        "p_full": table.mean([record["p_full"] for record in measured.records]),
        "tasks": tasks,
        "records": measured.records,
    }


def _per_layer(records: Sequence[Record], probe: Probe, value: Any) -> dict[int, Any]:
    return {
        layer: np.array([value(record["layers"][str(layer)], record) for record in records]) for layer in probe.layers
    }


def first_within(means: Sequence[float], probe: Probe) -> int | None:
    """First measured layer from which every mean stays within the tolerance, or None."""
    horizon = None
    for layer, mean in zip(reversed(probe.layers), reversed(means), strict=True):
        if abs(mean) > probe.tolerance:
            break
        horizon = layer
    return horizon


def horizons_of(largest: dict[int, Any], mine: Any, probe: Probe) -> Any:
    """(n,) horizon of each question; infinite if no measured layer qualifies.

    A layer qualifies if the largest information is at most the tolerance in this and all later measured layers.
    """
    found = np.full(int(mine.sum()), np.inf)
    within = np.ones(len(found), dtype=bool)
    for layer in reversed(probe.layers):
        within &= largest[layer][mine] <= probe.tolerance
        found[within] = layer
    return found


def without_windows(record: Record) -> Record:
    """The record, with largest, smallest and spread in place of all windows' values."""
    layers = {}
    for layer, one in record["layers"].items():
        values = np.array(one["information"])
        layers[layer] = {
            "p_text": one["p_text"],
            "largest": _short(float(values.max())),
            "smallest": _short(float(values.min())),
            "spread": _short(float(values.std())),
        }
    return {**record, "layers": layers}
