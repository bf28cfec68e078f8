"""The information horizon: the layer after which no visual token changes the answer's probability.

arXiv 2512.07580. After layer i all visual tokens are dropped but those of one window V_k, and its information is
I_i(V_k) = p_k - p_text, where p is the probability of the true answer's first token, p_k with V_k left and p_text with
no visual token left. Tokens are really dropped, inside the decoder, and keep their positions. With windows of one token
that is the metric as the paper words it; with windows of 2 × 2, as its code has it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from todre.analysis.prompts import Prompts, first_answer_token, prompts_of
from todre.analysis.questions import Asked
from todre.analysis.results import Job, Measured, Record, measure_all
from todre.analysis.summary import Table
from todre.analysis.windows import windows_of
from todre.decoder import decoder_of
from todre.errors import InvalidValueError
from todre.geometry import visual_token_boxes
from todre.layout import PAD, VISUAL
from todre.loading import Loaded
from todre.methods.base import Method
from todre.pruning import prune

if TYPE_CHECKING:
    from todre.reduction import ReduceContext, Reduction


@dataclass(frozen=True, kw_only=True)
class KeepOnly(Method):
    """In each row of a batch, keep only given visual tokens after a layer.

    Args:
        layer: count of layers run; the depth of the decoder keeps everything.
        kept: for each row, the places among its visual tokens of those that go on.
        early: where the tokens leave. Before `layer`, it saves the work of the layers between, whose states are then
            thrown away for those of `states`: nothing after `layer` can tell.
        states: (q, d) hidden states of the whole prompt after `layer`, needed where `early` is before it.
        columns: (q,) int8 class of each token of the prompt (`todre.layout`), likewise.
    """

    layer: int
    kept: tuple[tuple[int, ...], ...]
    early: int
    states: Tensor | None = field(default=None, compare=False, repr=False)
    columns: Tensor | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str] = "keep-only"
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Where tokens leave, and where the states come in."""
        return tuple(sorted({self.early, self.layer})) if self.layer < n_layers else ()

    def reduce(self, context: ReduceContext) -> Reduction:
        """Drop what each row does not keep; later, put the states in that the rows would have had."""
        from todre.reduction import Reduction

        keep = torch.ones_like(context.visual)
        if context.layer == self.early:
            for row, kept in enumerate(self.kept):
                visual = context.visual[row].nonzero().flatten()
                keep[row, visual] = False
                keep[row, visual[list(kept)]] = True
            return Reduction(keep)
        return Reduction(keep, hidden=self._states(context))

    def _states(self, context: ReduceContext) -> Tensor:
        assert self.states is not None
        assert self.columns is not None
        hidden = context.hidden.clone()
        visual = (self.columns == VISUAL).nonzero().flatten()
        for row, kept in enumerate(self.kept):
            left = self.columns != VISUAL
            left[visual[list(kept)]] = True
            real = context.kinds[row, -context.queries :] != PAD
            hidden[row, real] = self.states[left].to(hidden.dtype)
        return hidden


class Prober:
    """Probabilities of one token after one prompt, for any visual tokens left after any layer.

    Args:
        loaded: model and processor.
        prompts: a single prompt.
        token: id of the token that is asked about, the first one generated.
        rows: most rows of one forward. The model's own expansion for several return sequences makes them, so that the
            picture is encoded once for all.
    """

    def __init__(self, loaded: Loaded, prompts: Prompts, token: int, rows: int) -> None:
        self.loaded, self.prompts, self.token, self.rows = loaded, prompts, token, rows
        self.states: dict[int, Tensor] = {}
        handles = [
            layer.register_forward_pre_hook(functools.partial(self._keep_states, index))
            for index, layer in enumerate(decoder_of(loaded.model).layers)
        ]
        try:
            self.full = self._probabilities(1)[0]
        finally:
            for handle in handles:
                handle.remove()

    def _keep_states(self, layer: int, module: Any, args: tuple[Any, ...]) -> None:
        self.states[layer] = args[0][0].detach()

    def after(self, layer: int, early: int, kept: Sequence[tuple[int, ...]]) -> list[float]:
        """The probability where after `layer` only the tokens `kept` are left, for each of its entries.

        Args:
            layer: count of layers run.
            early: at most `layer`; see `KeepOnly`.
            kept: places among the visual tokens.
        """
        found: list[float] = []
        for start in range(0, len(kept), self.rows):
            part = tuple(kept[start : start + self.rows])
            shortcut = early < layer and any(part)  # a method is asked no more where no row holds a visual token
            method = KeepOnly(
                layer=layer,
                kept=part,
                early=early if shortcut else layer,
                states=self.states[layer] if shortcut else None,
                columns=self.prompts.kinds[0] if shortcut else None,
            )
            with prune(self.loaded.model, method):
                found += self._probabilities(len(part))
        return found

    @torch.inference_mode()
    def _probabilities(self, rows: int) -> list[float]:
        device = self.loaded.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            said = self.loaded.model.generate(
                **self.prompts.inputs,
                do_sample=True,
                num_beams=1,
                num_return_sequences=rows,
                max_new_tokens=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        found: list[float] = said.logits[0].float().softmax(dim=-1)[:, self.token].tolist()
        return found


@dataclass(frozen=True)
class Probe:
    """What is asked of each question.

    Args:
        layers: counts of layers run, ascending.
        window: side of a window in tokens.
        rows: most rows of one forward; changes no number beyond rounding.
        tolerance: an information of at most this much, in either direction, counts as none.
    """

    layers: tuple[int, ...]
    window: int = 2
    rows: int = 32
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        for name in ("window", "rows"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
        if not 0.0 < self.tolerance < 1.0:
            raise InvalidValueError(f"tolerance is a difference of probabilities in (0, 1), not {self.tolerance!r}.")
        if list(self.layers) != sorted(set(self.layers)) or not self.layers:
            raise InvalidValueError(f"layers must be counts in ascending order, not {self.layers!r}.")

    @classmethod
    def checked(cls, model: Any, layers: Sequence[int] | None, **values: Any) -> Probe:
        """A probe of the given layers, or of all but the last, after which nothing is left to drop.

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


def information_of(loaded: Loaded, asked: Asked, probe: Probe) -> Record:
    """Information of every window after every layer of `probe`, ready for JSON."""
    prompts = prompts_of(loaded, [asked])
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [asked.open().size])
    windows = [tuple(window) for window in windows_of(boxes, probe.window)]
    token = first_answer_token(loaded, asked)
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
    """Measure all questions of `job`; returns the document."""
    measured = measure_all(job, lambda asked: [information_of(job.loaded, one, probe) for one in asked])
    return document(measured, probe, job.command)


def document(measured: Measured, probe: Probe, command: str) -> dict[str, Any]:
    """Information by layer and task, and each task's horizon."""
    table = Table.of(measured.records)
    largest = _per_layer(measured.records, probe, lambda one, _: float(np.abs(one["information"]).max()))
    spread = _per_layer(measured.records, probe, lambda one, _: float(np.std(one["information"])))
    summed = _per_layer(measured.records, probe, lambda one, whole: whole["p_full"] - one["p_text"])
    groups = {"all": np.ones(len(measured.records), dtype=bool), **table.tasks}
    tasks = {}
    for name, mine in groups.items():
        curves = {
            label: [{"layer": layer, **table.mean(np.where(mine, values[layer], np.nan))} for layer in probe.layers]
            for label, values in (("largest", largest), ("spread", spread), ("all_together", summed))
        }
        tasks[name] = {
            "questions": int(mine.sum()),
            "horizon": first_within([point["mean"] for point in curves["largest"]], probe),
            "horizon_all_together": first_within([point["mean"] for point in curves["all_together"]], probe),
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
        "records": [_without_windows(record) for record in measured.records],
    }


def _per_layer(records: Sequence[Record], probe: Probe, value: Any) -> dict[int, Any]:
    return {
        layer: np.array([value(record["layers"][str(layer)], record) for record in records]) for layer in probe.layers
    }


def first_within(means: Sequence[float], probe: Probe) -> int | None:
    """The first layer from which on, at every layer that was measured, the mean is at most the tolerance."""
    horizon = None
    for layer, mean in zip(reversed(probe.layers), reversed(means), strict=True):
        if abs(mean) > probe.tolerance:
            break
        horizon = layer
    return horizon


def horizons_of(largest: dict[int, Any], mine: Any, probe: Probe) -> Any:
    """(n,) each question's own horizon: infinite where information is still there after the last layer measured."""
    found = np.full(int(mine.sum()), np.inf)
    within = np.ones(len(found), dtype=bool)
    for layer in reversed(probe.layers):
        within &= largest[layer][mine] <= probe.tolerance
        found[within] = layer
    return found


def _without_windows(record: Record) -> Record:
    """A record with the largest, smallest and typical information in place of every window's."""
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
