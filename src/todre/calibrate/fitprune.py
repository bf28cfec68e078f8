"""FitPrune's fit: how many tokens each layer can lose at little loss of attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from todre.calibrate.answers import Batches, Progress, Reference, next_token
from todre.errors import InvalidValueError
from todre.hf.decoder import decoder_of
from todre.methods.base import Method
from todre.methods.fitprune import FitPrune
from todre.methods.views.reduction import Reduction
from todre.pruning import prune

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext

_STEPS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class _Probe(Method):
    """Method that notes each layer's attention, and deletes what a tolerance allows.

    Args:
        full: count of layers run to (2, b) cross and self mass with all tokens; empty in the run that notes the masses.
        tolerance: share of either mass that a layer may lose.
        noted: count of layers run to the numbers that this run notes: (2, b) masses, or (2, b) numbers of deleted
            tokens and of tokens that entered.
    """

    full: Mapping[int, Tensor] = field(default_factory=dict)
    tolerance: float = 0.0
    noted: dict[int, Tensor] = field(default_factory=dict)

    name: ClassVar[str] = "fitprune-probe"

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Every layer but the last."""
        return tuple(range(1, n_layers))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Delete tokens that get least attention both from the text and from the picture."""
        text, fresh = context.text_rows, context.fresh
        queries = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
        own = fresh[:, -context.queries :]
        cross = context.scores(queries, heads="max") / queries.sum(dim=1, keepdim=True).clamp(min=1)
        itself = context.scores(own, heads="max") / own.sum(dim=1, keepdim=True).clamp(min=1)
        if not self.full:
            self.noted[context.layer] = torch.stack([(each * fresh).sum(dim=1) for each in (cross, itself)])
            return Reduction(torch.ones_like(fresh))
        gone = torch.ones_like(fresh)
        for each, mass in zip((cross, itself), self.full[context.layer], strict=True):
            gone &= spared(each, fresh, (1 - self.tolerance) * mass)
        self.noted[context.layer] = torch.stack([gone.sum(dim=1), context.entered.to(gone.device)])
        return Reduction(~gone)


def spared(scores: Tensor, fresh: Tensor, least: Tensor) -> Tensor:
    """(b, s) bool, True at the lowest fresh scores that can go.

    The remaining fresh scores still sum to at least `least`.

    Args:
        scores: (b, s) attention that each token gets.
        fresh: (b, s) bool, the tokens to choose among.
        least: (b,) smallest sum of scores to keep.
    """
    ranked = scores.masked_fill(~fresh, float("inf"))
    order = ranked.argsort(dim=1, stable=True)
    ordered = (scores * fresh).gather(1, order).double()
    left = ordered.sum(dim=1, keepdim=True) - ordered.cumsum(dim=1)
    chosen = (left >= least[:, None].double()) & fresh.gather(1, order)
    return torch.zeros_like(fresh).scatter(1, order, chosen)


def fit_fitprune(model: Any, batches: Batches, share: float, progress: Progress | None = None) -> FitPrune:
    """Fit how many tokens to delete after each layer, so that layers see `share`.

    Based on FitPrune (arXiv 2409.10197). For a tolerance α, each layer has a set of tokens with the lowest cross
    attention and a set with the lowest self attention; each set holds at most α of the layer's mass with all tokens,
    and the tokens in both sets are deleted. α is found by halving, so that the mean share over layers is met. The
    fitted numbers are means over the prompts, as shares of the tokens that entered. The authors' release counts FLOPs;
    this fit counts tokens.

    Args:
        model: a model that `todre.prune` takes.
        batches: prompts.
        share: visual tokens that a layer sees, a fraction of the tokens that enter, averaged over layers.
        progress: called after each α.

    Raises:
        InvalidValueError: a share that cannot be met, even by deleting everything after the first layer.
    """
    depth = decoder_of(model).n_layers
    if not isinstance(share, float) or not 1.0 / depth <= share <= 1.0:
        raise InvalidValueError(
            f"share must be a fraction from 1/{depth}, as the first of {depth} layers sees everything, to 1, "
            f"not {share!r}."
        )
    pictured = Reference.of(model, batches).pictured
    full: list[Mapping[int, Tensor]] = []
    for batch in batches:
        probe = _Probe()
        with prune(model, probe):
            next_token(model, batch)
        full.append(probe.noted)
    low, high, best = 0.0, 1.0, _deletions(model, batches, full, pictured, 1.0)
    for step in range(_STEPS):
        middle = (low + high) / 2
        found = _deletions(model, batches, full, pictured, middle)
        if _mean(found) <= share:
            high, best = middle, found
        else:
            low = middle
        if progress is not None:
            progress(step + 1, _STEPS)
    return FitPrune(deletions=_trimmed(best, share))


def _deletions(
    model: Any, batches: Batches, full: list[Mapping[int, Tensor]], pictured: list[Tensor], tolerance: float
) -> list[float]:
    """Share of the entered tokens that leaves after each layer.

    Each share is a mean over the rows with pictures.
    """
    depth = decoder_of(model).n_layers
    total, rows = torch.zeros(depth, dtype=torch.float64, device="cpu"), 0
    for batch, masses, kept in zip(batches, full, pictured, strict=True):
        if not masses:
            continue
        probe = _Probe(full=masses, tolerance=tolerance)
        with prune(model, probe):
            next_token(model, batch)
        for layer, (gone, entered) in probe.noted.items():
            mask = kept.to(gone.device)
            total[layer - 1] += float((gone[mask].double() / entered[mask].double()).sum())
        rows += int(kept.sum())
    return [float(value) / rows for value in total]


def _mean(deletions: list[float]) -> float:
    """Share of tokens that a layer sees, averaged over layers."""
    held, shares = 1.0, []
    for gone in deletions:
        shares.append(held)
        held -= gone
    return sum(shares) / len(shares)


def _trimmed(deletions: list[float], share: float) -> tuple[float, ...]:
    """The deletions, scaled down so that layers see exactly `share` on average."""
    saved = 1.0 - _mean(deletions)
    scale = min(1.0, (1.0 - share) / saved) if saved > 0 else 0.0
    return tuple(min(1.0, max(0.0, gone * scale)) for gone in deletions)
