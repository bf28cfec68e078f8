"""G-Search's fit: layer by layer, the lowest share of tokens that is enough."""

from __future__ import annotations

from typing import Any

from todre.calibrate.answers import Batches, Progress, Reference, check_tolerance
from todre.errors import InvalidValueError
from todre.hf.decoder import decoder_of
from todre.methods.gsearch import GSearch, QueryRows


def fit_gsearch(
    model: Any,
    batches: Batches,
    tolerance: float = 0.003,
    steps: int = 6,
    asking: QueryRows = "last",
    progress: Progress | None = None,
) -> GSearch:
    """Fit each layer's lowest share that keeps the next token within `tolerance`.

    Based on G-Search (arXiv 2412.00556), which goes from shallow to deep layers and finds each share by Bayesian
    optimisation. Tokens that left are gone from all later layers, so shares do not rise; here each share is found by
    halving the interval from 0 to the share of the layer before. A share is tried in the layer and all later layers.

    Args:
        model: a model that `todre.prune` takes.
        batches: prompts.
        tolerance: mean KL divergence at the last token, in nats.
        steps: halvings per layer; shares are found to 2**-steps.
        asking: field of `GSearch`.
        progress: called after each layer.

    Raises:
        InvalidValueError: a value that cannot be used.
    """
    check_tolerance(tolerance)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 30:
        raise InvalidValueError(f"steps must be a whole number from 1 to 30, not {steps!r}.")
    depth, reference = decoder_of(model).n_layers, Reference.of(model, batches)
    kept = [1.0] * depth
    for layer in range(1, depth):
        low, high = 0.0, kept[layer - 1]
        for share in (0.0, *[None] * steps):
            tried = (low + high) / 2 if share is None else share
            candidate = GSearch(kept=(*kept[:layer], *[tried] * (depth - layer)), asking=asking)
            if reference.divergence(candidate) <= tolerance:
                high = tried
            else:
                low = tried
            if low >= high:
                break
        kept[layer:] = [high] * (depth - layer)
        if progress is not None:
            progress(layer, depth - 1)
    return GSearch(kept=tuple(kept), asking=asking)
