"""P-Sigmoid's fit: the slope that changes answers least at a given budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from todre.calibrate.answers import Batches, Progress, Reference
from todre.errors import InvalidValueError
from todre.methods.psigmoid import PSigmoid

SLOPES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def fit_psigmoid(
    model: Any,
    batches: Batches,
    retain: float,
    slopes: Sequence[float] = SLOPES,
    progress: Progress | None = None,
) -> PSigmoid:
    """Fit the slope whose next token diverges least; ties go to the first slope.

    The paper (arXiv 2412.00556) searches by Bayesian optimisation; for a single number, a list of candidates is enough.

    Args:
        model: a model that `todre.prune` takes.
        batches: prompts.
        retain: visual tokens averaged over layers, as in `PSigmoid`.
        slopes: candidates.
        progress: called after each candidate.

    Raises:
        InvalidValueError: there is no candidate, or the budget cannot be met.
    """
    candidates = [PSigmoid(retain=retain, slope=slope) for slope in slopes]
    if not candidates:
        raise InvalidValueError("slopes must hold at least one candidate, and is empty.")
    reference, found = Reference.of(model, batches), []
    for number, candidate in enumerate(candidates, 1):
        found.append(reference.divergence(candidate))
        if progress is not None:
            progress(number, len(candidates))
    return candidates[found.index(min(found))]
