"""Stage 1 for a batch: ask the method which visual tokens of each row to keep."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.fields import fitted
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.guard import Guard, GuardFinding
from todre.methods.shared.grouping import screens
from todre.methods.views import answers
from todre.methods.views.visual_tokens import Selection, VisualTokens
from todre.runtime.guarded import watch
from todre.runtime.samples import Samples
from todre.tensors.autocast import no_autocast
from todre.tensors.token_facts import ALIVE, STROKES, Signal
from todre.tensors.transfer import upload


@dataclass(frozen=True)
class Choice:
    """The visual tokens of one sample that are kept before the LLM.

    Attributes:
        keep: (k,) int64 indices of kept tokens, ascending, on the tokens' device; None where all are kept.
        embeddings: (n, d) embeddings of all tokens, merged tokens already with their new ones.
        budgets: what automatic budgets gave, for each selector and each part that has a budget of its own.
        findings: what the guard saw, picture by picture.
    """

    keep: Tensor | None
    embeddings: Tensor
    budgets: tuple[int, ...] = ()
    findings: tuple[GuardFinding, ...] = ()

    @property
    def mask(self) -> Tensor:
        """Kept tokens, (n,) bool."""
        kept = torch.full(self.embeddings.shape[:1], self.keep is None, device=self.embeddings.device, dtype=torch.bool)
        return kept if self.keep is None else kept.index_fill_(0, self.keep, True)


@dataclass(frozen=True)
class BatchSelection:
    """The visual tokens of a batch that are kept before the LLM.

    Attributes:
        offered: for each row, the number of visual tokens before selection.
        counts: for each row, the number of visual tokens that are kept.
        rows: for each row, (k,) int64 indices of the visual tokens that are kept; None where all are kept.
        columns: for each row, (n,) int64 on the host, columns of its visual tokens.
        keep: (b, q) bool, the visual columns that are kept; False at all other columns.
        embeddings: (b, q, d) input embeddings, merged tokens with their new ones; None where nothing was merged.
        budgets, findings: for each row, see `Choice`.
    """

    offered: list[int]
    counts: list[int]
    rows: list[Tensor | None]
    columns: list[Tensor]
    keep: Tensor
    embeddings: Tensor | None
    budgets: list[tuple[int, ...]]
    findings: list[tuple[GuardFinding, ...]]

    @property
    def stays(self) -> Tensor:
        """Indices of kept tokens into the visual tokens of all rows, (kept,) int64."""
        found, before = [], 0
        for kept, count in zip(self.rows, self.offered, strict=True):
            device = self.keep.device
            found.append((torch.arange(count, device=device, dtype=torch.int64) if kept is None else kept) + before)
            before += count
        return torch.cat(found)


def select_batch(
    method: Method, samples: Samples, visual: Tensor, embeds: Tensor, guard: Guard | None = None
) -> BatchSelection:
    """The visual tokens that `method` keeps of each sample.

    Args:
        method: decides which tokens stay.
        samples: the visual tokens of each row.
        visual: (b, q) bool, the visual columns.
        embeds: (b, q, d) embeddings.
        guard: looks at each picture before the method's answer is used; None for no guard.
    """
    keep, merged = visual.clone(), None
    chosen: dict[int, Choice] = {}
    rows: list[Tensor | None] = []
    answered: list[Choice] = []
    for row, (sample, columns) in enumerate(zip(samples.tokens, samples.columns, strict=True)):
        if id(sample) not in chosen:
            chosen[id(sample)] = choose(method, sample, guard) if len(sample) else Choice(None, sample.embeddings)
        answer = chosen[id(sample)]
        answered.append(answer)
        rows.append(answer.keep)
        where = upload(columns, keep.device)
        if answer.keep is not None:
            keep[row] = False
            keep[row].index_fill_(0, where[answer.keep], True)
        if answer.embeddings is not sample.embeddings:
            merged = embeds.clone() if merged is None else merged
            merged[row].index_copy_(0, where, answer.embeddings.to(merged.dtype))
    offered = [len(sample) for sample in samples.tokens]
    counts = [count if kept is None else len(kept) for kept, count in zip(rows, offered, strict=True)]
    budgets, findings = [one.budgets for one in answered], [one.findings for one in answered]
    return BatchSelection(offered, counts, rows, samples.columns, keep, merged, budgets, findings)


def choose(method: Method, sample: VisualTokens, guard: Guard | None = None) -> Choice:
    """The visual tokens that `method` keeps of one sample.

    Tokens that the vision tower removed go first; then each selector takes from what is left, and the guard looks last.
    """
    left: Tensor | None = None
    alive = sample.signals.get(ALIVE)
    if alive is not None:
        left = (alive.isnan() | (alive > 0)).nonzero().flatten()
    embeddings, present, budgets = sample.embeddings, left, []
    for selector in method.selectors():
        if left is not None and not len(left):
            break
        taken = sample if left is None else sample.take(left)
        if embeddings is not sample.embeddings:
            taken = taken.with_embeddings(embeddings if left is None else embeddings[left])
        keep, new, counts = _ask_selector(selector, taken)
        budgets += counts
        if new is not None:
            embeddings = embeddings.clone() if embeddings is sample.embeddings else embeddings
            embeddings[slice(None) if left is None else left] = new.to(embeddings.dtype)
        if keep is not None:
            left = keep if left is None else left[keep]
    left = None if left is not None and len(left) == len(sample) else left
    if guard is None:
        return Choice(left, embeddings, tuple(budgets))

    def ask(asked: Method, shown: VisualTokens) -> tuple[Tensor | None, Tensor | None]:
        keep, new, _ = _ask_selector(asked, shown)
        return keep, new

    watched = watch(guard, method, sample, present, left, embeddings, ask)
    return Choice(watched.keep, watched.embeddings, tuple(budgets), watched.findings)


def _ask_selector(method: Method, sample: VisualTokens) -> tuple[Tensor | None, Tensor | None, list[int]]:
    """Show tokens to one selector: its kept indices, (k,) int64, and new embeddings.

    Either of the two is None if nothing changed. Each part that `method.per` names has a budget of its own; what an
    automatic budget gives each is the third result.
    """
    found, embeddings, counts = [], None, []
    auto = automatic(method)
    for part in parts(sample, "image" if auto and method.per == "sample" else method.per):
        shown = sample if part is None else sample.take(part)
        where = None if part is None else sample.here(part)
        with no_autocast(sample.device):
            if auto is not None:
                counts.append(auto.count(shown))
                if counts[-1] == len(shown) and "frames" not in method.card.needs:  # nothing to choose
                    every = torch.arange(len(shown), device=sample.device, dtype=torch.int64)
                    found.append(every if where is None else where)
                    continue
                method = dataclasses.replace(method, **dict[str, Any](retain=counts[-1]))
            answer = method.select(shown)
        if isinstance(answer, Selection):
            new = answers.selection_embeddings(method, answer.embeddings, shown)
            if where is None:
                embeddings = new
            else:
                embeddings = sample.embeddings.clone() if embeddings is None else embeddings
                embeddings[where] = new.to(embeddings.dtype)
            answer = answer.keep
        index = sample.here(answers.kept_index(method, answer, len(shown)))
        found.append(index if where is None else where[index])
    if len(found) == 1:
        return (None if len(found[0]) == len(sample) else found[0]), embeddings, counts
    return torch.cat(found).sort().values, embeddings, counts


def signals_of(method: Method, guard: Guard | None = None) -> tuple[Signal, ...]:
    """What is read of the vision tower for a method, its budget and the guard.

    Args:
        method: the method.
        guard: looks at each picture; None for no guard.
    """
    budgets = [automatic(selector) for selector in method.selectors()]
    text = (guard is not None and guard.text is not None) or any(
        one is not None and one.text is not None for one in budgets
    )
    asked = method.signals()
    return (*fitted("What signals answers", asked, tuple[Signal, ...]), STROKES) if text else asked


def automatic(method: Method) -> AutoBudget | None:
    """The automatic budget of a method; None if its budget is a number or absent."""
    retain = getattr(method, "retain", None)
    return retain if isinstance(retain, AutoBudget) else None


def parts(sample: VisualTokens, per: str) -> list[Tensor | None]:
    """The parts of a sample that have budgets of their own, as indices on the host.

    `sample` makes the whole sample one part, given as None; `image` and `clip` make each picture and each clip a part;
    `frame` makes each frame a part, and a clip's last frame includes its closing tokens.
    """
    if per == "sample":
        return [None]
    if per == "frame":
        found = list(screens(sample))
    else:
        picture = sample.host.picture
        found = [(picture == number).nonzero().flatten() for number in picture.unique()]
    return [None] if len(found) == 1 else list(found)
