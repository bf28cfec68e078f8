"""VFlowOpt's fit: how a mean number of tokens is spread over the layers."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from todre.calibrate.answers import Batches, Progress, Reference
from todre.errors import InvalidValueError
from todre.hf.decoder import decoder_of
from todre.methods.shared.layers import resolve_stages
from todre.methods.vflowopt import VFlowOpt


def fit_vflowopt(
    model: Any,
    batches: Batches,
    share: float,
    trials: int = 50,
    seed: int = 0,
    method: VFlowOpt | None = None,
    progress: Progress | None = None,
) -> VFlowOpt:
    """Fit how many tokens enter and stay at each stage, so that layers see `share`.

    VFlowOpt (arXiv 2508.05211) searches for the most similar last token by Bayesian optimisation, with 300 trials on 30
    samples. Here each trial draws its stages' ratios at random (the first trial has ratios of 1), and the number of
    tokens that enter follows from `share`. The trial whose next token diverges least wins.

    Args:
        model: a model that `todre.prune` takes.
        batches: prompts.
        share: visual tokens that a layer sees, a fraction of each sample's visual tokens, averaged over layers.
        trials: number of settings to try.
        seed: seed of the random draws.
        method: VFlowOpt whose layers and attention are kept; None means the defaults.
        progress: called after each trial.

    Raises:
        InvalidValueError: a value that cannot be used.
    """
    if not isinstance(share, float) or not 0.0 < share <= 1.0:
        raise InvalidValueError(f"share must be a fraction in (0, 1], such as 0.25, not {share!r}.")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise InvalidValueError(f"trials must be a whole number of at least 1, not {trials!r}.")
    start, draw = method or VFlowOpt(), random.Random(seed)
    depth, reference = decoder_of(model).n_layers, Reference.of(model, batches)
    best, lowest = None, float("inf")
    for trial in range(trials):
        ratios = tuple(1.0 if trial == 0 else draw.uniform(0.05, 1.0) for _ in start.layers)
        retain = share / _mean_share(start, ratios, depth)
        if retain <= 1.0:
            candidate = dataclasses.replace(start, retain=retain, ratios=ratios)
            found = reference.divergence(candidate)
            best, lowest = (candidate, found) if found < lowest else (best, lowest)
        if progress is not None:
            progress(trial + 1, trials)
    if best is None:
        raise InvalidValueError("Every trial diverged without bound; check the model's precision.")
    return best


def _mean_share(method: VFlowOpt, ratios: tuple[float, ...], depth: int) -> float:
    """Share of the entered tokens that a layer sees, averaged over layers."""
    total, run, held, number = 0.0, 0, 1.0, -1
    for layer, stage in resolve_stages(method.layers, depth):
        total, run = total + held * (layer - run), layer
        for each in range(number + 1, stage + 1):
            held *= ratios[each]
        number = stage
    return (total + held * (depth - run)) / depth
