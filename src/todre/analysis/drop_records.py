"""Records of a calibration of stage 2: scores with the picture dropped by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion
from todre.analysis.results import Record
from todre.errors import InvalidValueError
from todre.fields import Checked, Range
from todre.fields.kinds import Count
from todre.hf.decoder import decoder_of
from todre.hf.greedy_decoding import greedy_settings
from todre.loading.model import Loaded
from todre.methods.base import Method, NoPruning
from todre.methods.todre import ToDRE
from todre.pruning import prune

_REPLACED = ("layers", "threshold", "stages", "horizon", "ahead")
"""Settings of a method that no record depends on; every layer is tried alone."""


@dataclass(frozen=True)
class Goal(Checked):
    """Goal of a calibration: how much accuracy may be lost, and among which layers.

    Args:
        method: ToDRE with the budget and all settings; the calibration replaces `layers`, `threshold`, `horizon` and
            `ahead`, and adds stage 2. A method without stage 1 is measured without it.
        loss: accuracy that may be lost against the same budget without stage 2, from 0 to 1; the whole 95 % interval
            of the paired difference must lie above -loss.
        layers: candidates, counts of layers run, ascending.
        max_new_tokens: longest answer.
    """

    method: ToDRE
    loss: Annotated[float, Range(least=0, below=1, called="a share of the questions")]
    layers: tuple[Count, ...]
    max_new_tokens: Count = 16

    @classmethod
    def checked(cls, model: Any, method: Method, loss: float, layers: Sequence[int] | None, **values: Any) -> Goal:
        """A goal for `model`, by default over all its layers but the last.

        After the last layer nothing is left to save.

        Raises:
            InvalidValueError: a method other than ToDRE, or a layer that is not below the model's depth.
        """
        if not isinstance(method, ToDRE):
            raise InvalidValueError(f"{method.name!r} has no stage 2 to calibrate; use todre or todre-v1.")
        depth = decoder_of(model).n_layers
        chosen = tuple(sorted(set(layers))) if layers else tuple(range(1, depth))
        if chosen[0] < 1 or chosen[-1] >= depth:
            raise InvalidValueError(
                f"layers={list(chosen)} goes outside 1 to {depth - 1}: "
                f"this decoder has {depth} layers, and after the last nothing is left to save."
            )
        return cls(method, loss, chosen, **values)

    def parameters(self) -> dict[str, Any]:
        """Every setting that can change a record, ready for JSON."""
        fields = {k: v for k, v in self.method.to_dict().items() if k not in _REPLACED}
        fields |= {} if self.method.selects else {"stages": [2]}
        return {"method": fields, "layers": list(self.layers), "max_new_tokens": self.max_new_tokens}

    @property
    def without(self) -> ToDRE:
        """The method at the same budget without stage 2."""
        return without_stage_2(self.method)

    def dropping(self, layer: int, threshold: float = 1.0) -> ToDRE:
        """The method with stage 2 at one layer, a count of layers run.

        With a threshold of 1, the method always drops where text follows the picture.
        """
        stages = (1, 2) if self.method.selects else (2,)
        alone = dataclasses.replace(self.method, stages=stages, horizon=None, ahead="no")
        return dataclasses.replace(alone, layers=(layer,), threshold=threshold)

    @property
    def unmeasured(self) -> dict[str, Any]:
        """The method's own `horizon` and `ahead`, which `dropping` is without."""
        plain = self.dropping(1).to_dict()
        return {k: v for k, v in self.method.to_dict().items() if k in ("horizon", "ahead") and v != plain[k]}


def without_stage_2(method: ToDRE) -> ToDRE:
    """The method without stage 2; one that has no stage 1 drops nothing then."""
    alone = dataclasses.replace(method, stages=(1,))
    return alone if method.selects else dataclasses.replace(alone, retain=1.0)


def answers_of(loaded: Loaded, questions: Sequence[PictureQuestion], goal: Goal) -> list[Record]:
    """Scores of each question: unpruned, without stage 2, and with drops by layer.

    The records are ready for JSON.
    """
    prompts = prompts_of(loaded, questions)
    records: list[Record] = [{"drop": {}} for _ in questions]
    plans: list[tuple[str, Method]] = [("none", NoPruning()), ("kept", goal.without)]
    plans += [(str(layer), goal.dropping(layer)) for layer in goal.layers]
    for name, method in plans:
        with torch.inference_mode(), prune(loaded.model, method) as report:
            tokens = loaded.model.generate(**prompts.inputs, **greedy_settings(goal.max_new_tokens))
        new = tokens[:, prompts.kinds.shape[1] :]
        texts = loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        for row, (record, one) in enumerate(zip(records, questions, strict=True)):
            mark = round(one.mark(texts[row].strip()), 6)
            if name in ("none", "kept"):
                record[name] = mark
                continue
            ratios = report.attention_ratios[row].get(int(name))
            record["drop"][name] = {
                "score": mark,
                "dropped": report.faded_after_layer[row] is not None,
                "left": _left(report.visual_tokens_per_layer[row], int(name)),
                "text_to_visual": None if ratios is None else ratios.text_to_visual,
                "visual_to_text": None if ratios is None else ratios.visual_to_text,
            }
    return records


def _left(per_layer: Sequence[int], layer: int) -> float:
    """Share of the visual tokens of `layer` (1-based) that the next one runs on."""
    return per_layer[layer] / per_layer[layer - 1] if per_layer[layer - 1] else 0.0
