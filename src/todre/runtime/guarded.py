"""The guard at work: it looks at each picture before a choice is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.methods.auto_budget import count_of
from todre.methods.base import Method
from todre.methods.guard import Guard, GuardFinding
from todre.methods.views.visual_tokens import VisualTokens
from todre.select import coverage_radius, effective_rank, normalised_entropy
from todre.tensors.autocast import no_autocast
from todre.tensors.transfer import fetch

_SALIENCY = ("cls", "received", "auto")
"""Kinds of signals that say how much attention a token gets."""
Ask = Callable[[Method, VisualTokens], tuple[Tensor | None, Tensor | None]]
"""Shows tokens to a selector; returns kept indices and new embeddings, or None."""


@dataclass(frozen=True)
class Watched:
    """A sample's choice after the guard.

    Attributes:
        keep: (k,) int64 indices of kept tokens, ascending, on the tokens' device; None where all are kept.
        embeddings: (n, d) embeddings of all tokens.
        findings: what the guard saw, picture by picture.
    """

    keep: Tensor | None
    embeddings: Tensor
    findings: tuple[GuardFinding, ...]


def watch(
    guard: Guard,
    method: Method,
    sample: VisualTokens,
    alive: Tensor | None,
    keep: Tensor | None,
    embeddings: Tensor,
    ask: Ask,
) -> Watched:
    """The choice that is used for one sample, and what the guard saw.

    The host waits for the device once to know what was kept, and for each signal.

    Args:
        guard: thresholds, and what to do.
        method: the method that chose.
        sample: the sample's visual tokens as they were before the choice.
        alive: (m,) int64, tokens that the vision tower left; None for all.
        keep: (k,) int64, tokens that the method keeps; None for all.
        embeddings: (n, d), with the method's new ones.
        ask: shows tokens to a selector, for guards with a floor.
    """
    chosen, present = _on_host(len(sample), keep), _on_host(len(sample), alive)
    before, given, findings = chosen.clone(), embeddings, []
    picture = sample.host.picture
    for number in picture.unique().tolist():
        here = ((picture == number) & present).nonzero().flatten()
        if not len(here):
            continue
        shown = sample.take(here)
        seen = look(guard, shown, chosen[here], number)
        if seen.above and guard.action == "refuse":
            left, new = _instead(guard, method, shown, chosen[here], ask)
            if left is not None:
                chosen[here] = left
                embeddings = embeddings.clone() if embeddings is given else embeddings
                embeddings[sample.here(here)] = new.to(embeddings.dtype)
        findings.append(dataclasses.replace(seen, left=int(chosen[here].sum())))
    if torch.equal(chosen, before):
        return Watched(keep, given, tuple(findings))
    every = bool(chosen.all())
    return Watched(None if every else sample.here(chosen.nonzero().flatten()), embeddings, tuple(findings))


def look(guard: Guard, shown: VisualTokens, chosen: Tensor, number: int) -> GuardFinding:
    """The signals of one picture, without `left`.

    Args:
        guard: thresholds; a signal without one is not looked at.
        shown: the picture's tokens.
        chosen: (n,) bool on the host, tokens that the method keeps.
        number: of the picture within its sample.
    """
    kept, content = int(chosen.sum()), ~shown.host.newline
    found: dict[str, Any] = {}
    if kept < len(shown) and bool(content.any()):
        x = shown.embeddings[shown.here(content.nonzero().flatten())]
        inside = chosen[content]
        with no_autocast(shown.device):
            if guard.radius is not None:
                found["radius"] = coverage_radius(x, shown.here(inside.nonzero().flatten()))
            if guard.rank is not None:
                found["rank"] = effective_rank(x) / max(1, int(inside.sum()))
            if guard.text is not None:
                found["text"] = shown.text_share
            if guard.entropy is not None:
                found["entropy"] = _entropy(shown)
    above = tuple(name for name, value in found.items() if value is not None and value > getattr(guard, name))
    return GuardFinding(picture=number, tokens=len(shown), kept=kept, above=above, **found)


def warning_of(guard: Guard, findings: Sequence[Sequence[GuardFinding]]) -> str | None:
    """One sentence about the pictures of a batch that are above a threshold, or None.

    Args:
        guard: the guard, whose action is `warn`.
        findings: for each row, what was seen.
    """
    above = [(row, seen) for row, found in enumerate(findings) for seen in found if seen.above]
    if guard.action != "warn" or not above:
        return None
    row, worst = above[0]
    more = f" (and {len(above) - 1} more)" if len(above) > 1 else ""
    return (
        f"Pruning may harm the answer about picture {worst.picture} of row {row}{more}, which keeps {worst.kept} of "
        f"{worst.tokens} visual tokens with {worst.words(guard.to_dict())}; keep more, or use guard='refuse'."
    )


def _instead(
    guard: Guard, method: Method, shown: VisualTokens, chosen: Tensor, ask: Ask
) -> tuple[Tensor | None, Tensor]:
    """What a refused picture keeps, (n,) bool on the host, and its embeddings (n, d).

    None in place of the tokens where the picture has its floor already.
    """
    if guard.floor is None:
        return torch.ones_like(chosen), shown.embeddings
    least = count_of(guard.floor, len(shown))
    if int(chosen.sum()) >= least:
        return None, shown.embeddings
    (selector,) = method.selectors()
    asked = dataclasses.replace(selector, **dict[str, Any](retain=least, per="image"))
    keep, new = ask(asked, shown)
    return _on_host(len(shown), keep), shown.embeddings if new is None else new


def _entropy(shown: VisualTokens) -> float | None:
    """H / ln n of the saliency that the method reads; None where it reads none."""
    for request, values in shown.signals.items():
        if request.kind in _SALIENCY and values.ndim == 1:
            return normalised_entropy(values[~values.isnan()])
    return None


def _on_host(n: int, index: Tensor | None) -> Tensor:
    """Indices as (n,) bool on the host; all True for None."""
    if index is None:
        return torch.ones(n, dtype=torch.bool, device="cpu")
    (places,) = fetch([index])
    return torch.zeros(n, dtype=torch.bool, device="cpu").index_fill_(0, places, True)
