"""VTW's fit: the first layer after which the picture can go."""

from __future__ import annotations

from typing import Any

from todre.calibrate.answers import Batches, Progress, Reference, check_tolerance
from todre.errors import InvalidValueError
from todre.hf.decoder import decoder_of
from todre.methods.vtw import VTW


def fit_vtw(
    model: Any, batches: Batches, tolerance: float = 0.003, first: int = 5, progress: Progress | None = None
) -> VTW:
    """Fit VTW's layer: the first after which dropping the picture changes little.

    The change is little if the next token's mean KL divergence is at most `tolerance`. Based on VTW (arXiv 2405.05803),
    which uses 20 samples, layers from 5 on, and η = 0.003 for LLaVA-1.5-7B, 5e-4 for its 13B and 1e-4 for
    LLaVA-NeXT-7B.

    Args:
        model: a model that `todre.prune` takes.
        batches: prompts.
        tolerance: η, in nats.
        first: the first layer to try, a count of layers run.
        progress: called after each layer.

    Raises:
        InvalidValueError: no layer is within `tolerance`, or `first` is not below the decoder's depth.
    """
    check_tolerance(tolerance)
    depth = decoder_of(model).n_layers
    if isinstance(first, bool) or not isinstance(first, int) or not 1 <= first < depth:
        raise InvalidValueError(f"first must be a count of layers from 1 to {depth - 1}, not {first!r}.")
    reference = Reference.of(model, batches)
    lowest = float("inf")
    for layer in range(first, depth):
        found = reference.divergence(VTW(layer=layer))
        lowest = min(lowest, found)
        if progress is not None:
            progress(layer - first + 1, depth - first)
        if found <= tolerance:
            return VTW(layer=layer)
    raise InvalidValueError(
        f"Dropping the picture after any of layers {first} to {depth - 1} changes the next token by more than "
        f"tolerance={tolerance:g} nats, at best by {lowest:.2g}; raise tolerance."
    )
