"""Stage 1 for a batch: show each row's visual tokens to the method, and collect what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from todre.methods.base import Method
from todre.methods.views import answers
from todre.methods.views.visual_tokens import Selection, VisualTokens
from todre.runtime.samples import Samples
from todre.tensors.autocast import no_autocast
from todre.tensors.token_facts import ALIVE
from todre.tensors.transfer import upload


@dataclass(frozen=True)
class Choice:
    """What is left of one sample before the LLM.

    Attributes:
        keep: (k,) int64, ascending, on the tokens' device; None where all are kept.
        embeddings: (n, d), with those of merged tokens in place.
    """

    keep: Tensor | None
    embeddings: Tensor

    @property
    def mask(self) -> Tensor:
        """(n,) bool, True where a token is kept."""
        kept = torch.full(self.embeddings.shape[:1], self.keep is None, device=self.embeddings.device, dtype=torch.bool)
        return kept if self.keep is None else kept.index_fill_(0, self.keep, True)


@dataclass(frozen=True)
class BatchSelection:
    """What is left of a batch before the LLM.

    Attributes:
        offered: of each row, how many visual tokens there were.
        counts: of each row, how many are kept.
        rows: of each row, (k,) int64 which of its visual tokens are kept; None where all are.
        columns: of each row, (n,) int64 on the host, where its visual tokens stand.
        keep: (b, q) bool, the visual columns that are kept; False at all other columns.
        embeddings: (b, q, d) input embeddings with those of merged tokens in place; None where nothing was merged.
    """

    offered: list[int]
    counts: list[int]
    rows: list[Tensor | None]
    columns: list[Tensor]
    keep: Tensor
    embeddings: Tensor | None

    @property
    def stays(self) -> Tensor:
        """(kept,) int64: the places of what is kept among the visual tokens of all rows, one row after the other."""
        found, before = [], 0
        for kept, count in zip(self.rows, self.offered, strict=True):
            device = self.keep.device
            found.append((torch.arange(count, device=device, dtype=torch.int64) if kept is None else kept) + before)
            before += count
        return torch.cat(found)


def select_batch(method: Method, samples: Samples, visual: Tensor, embeds: Tensor) -> BatchSelection:
    """Ask `method` sample by sample.

    Args:
        method: which tokens stay.
        samples: of each row.
        visual: (b, q) bool, the visual columns.
        embeds: (b, q, d).
    """
    keep, merged = visual.clone(), None
    chosen: dict[int, Choice] = {}
    rows: list[Tensor | None] = []
    for row, (sample, columns) in enumerate(zip(samples.tokens, samples.columns, strict=True)):
        if id(sample) not in chosen:
            chosen[id(sample)] = choose(method, sample) if len(sample) else Choice(None, sample.embeddings)
        answer = chosen[id(sample)]
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
    return BatchSelection(offered, counts, rows, samples.columns, keep, merged)


def choose(method: Method, sample: VisualTokens) -> Choice:
    """One sample's answer: what the vision tower removed goes first, then each selector takes from what is left."""
    left: Tensor | None = None
    alive = sample.signals.get(ALIVE)
    if alive is not None:
        left = (alive.isnan() | (alive > 0)).nonzero().flatten()
    embeddings = sample.embeddings
    for selector in method.selectors():
        if left is not None and not len(left):
            break
        taken = sample if left is None else sample.take(left)
        if embeddings is not sample.embeddings:
            taken = taken.with_embeddings(embeddings if left is None else embeddings[left])
        keep, new = _chosen(selector, taken)
        if new is not None:
            embeddings = embeddings.clone() if embeddings is sample.embeddings else embeddings
            embeddings[slice(None) if left is None else left] = new.to(embeddings.dtype)
        if keep is not None:
            left = keep if left is None else left[keep]
    return Choice(None if left is not None and len(left) == len(sample) else left, embeddings)


def _chosen(method: Method, sample: VisualTokens) -> tuple[Tensor | None, Tensor | None]:
    """(k,) int64 with a budget for each of the parts that `method.per` names, None for all; new embeddings if any."""
    found, embeddings = [], None
    for part in parts(sample, method.per):
        shown = sample if part is None else sample.take(part)
        with no_autocast(sample.device):
            answer = method.select(shown)
        where = None if part is None else sample.here(part)
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
        return (None if len(found[0]) == len(sample) else found[0]), embeddings
    return torch.cat(found).sort().values, embeddings


def parts(sample: VisualTokens, per: str) -> list[Tensor | None]:
    """Index tensors on the host of the parts that have budgets of their own, in order; None is all of them.

    `sample` is one part; `image` and `clip` make one of each picture and each clip; `frame` one of each frame, to whose
    last a clip's closing tokens are counted.
    """
    if per == "sample":
        return [None]
    places = sample.host
    group = places.picture
    if per == "frame":
        frame = places.frame.clone()
        for picture in places.picture.unique():
            mine = places.picture == picture
            frame[mine & (places.frame < 0)] = places.frame[mine].max().clamp(min=0)
        group = places.picture * (int(frame.max()) + 1) + frame
    return [(group == number).nonzero().flatten() for number in group.unique()]
