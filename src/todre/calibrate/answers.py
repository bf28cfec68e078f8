"""Next-token probabilities under a method, and their distance from unpruned ones."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.hf.keywords import MASK
from todre.methods.base import Method, NoPruning
from todre.pruning import prune

Batches = Sequence[Mapping[str, Any]]
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True)
class Reference:
    """Unpruned next-token probabilities of a model on some prompts.

    Attributes:
        model: the model.
        batches: prompts, each batch a mapping of arguments of the model's forward.
        log_probabilities: per batch, (b, vocabulary) log-probabilities of the token after the prompt, float32.
        pictured: per batch, (b,) bool, True at rows with visual tokens.
    """

    model: Any
    batches: Batches
    log_probabilities: list[Tensor]
    pictured: list[Tensor]

    @classmethod
    def of(cls, model: Any, batches: Batches) -> Reference:
        """Reference of a model and its batches; runs the model unpruned.

        Raises:
            InvalidValueError: no batch holds a picture.
        """
        log_probabilities, pictured = [], []
        for batch in batches:
            with prune(model, NoPruning()) as report:
                log_probabilities.append(next_token(model, batch))
            pictured.append(
                torch.tensor([count > 0 for count in report.visual_tokens_before], dtype=torch.bool, device="cpu")
            )
        if not any(bool(rows.any()) for rows in pictured):
            raise InvalidValueError("A fit needs prompts with pictures, and none of the batches has one; add some.")
        return cls(model, batches, log_probabilities, pictured)

    def divergence(self, method: Method) -> float:
        """Mean divergence KL(p_method ‖ p_unpruned) of the next token, in nats.

        The mean is over the prompts with pictures.
        """
        total, count = 0.0, 0
        for batch, log_probabilities, rows in zip(self.batches, self.log_probabilities, self.pictured, strict=True):
            if not bool(rows.any()):
                continue
            with prune(self.model, method):
                now = next_token(self.model, batch)
            each = (now.exp() * (now - log_probabilities)).sum(dim=-1)[rows.to(now.device)].double()
            total, count = total + float(each.sum()), count + len(each)
        return total / count


def next_token(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """(b, vocabulary) float32 log-probabilities of the token that follows each row.

    Padding, at either end, is skipped.
    """
    with torch.inference_mode():
        logits: Tensor = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    mask = batch.get(MASK)
    last = torch.full((logits.shape[0],), logits.shape[1] - 1, device=logits.device, dtype=torch.int64)
    if mask is not None:
        place = torch.arange(mask.shape[1], device=mask.device, dtype=torch.int64)
        last = (place * (mask != 0)).amax(dim=1).to(logits.device)
    rows = torch.arange(logits.shape[0], device=logits.device, dtype=torch.int64)
    return logits[rows, last].float().log_softmax(dim=-1)


def check_tolerance(tolerance: object) -> None:
    """Raise unless `tolerance` is a divergence of at least 0, in nats."""
    number = isinstance(tolerance, numbers.Real) and not isinstance(tolerance, bool)
    if not number or not 0.0 <= float(tolerance) < math.inf:  # type: ignore[arg-type]
        raise InvalidValueError(f"tolerance must be a divergence of at least 0 nats, such as 0.003, not {tolerance!r}.")
