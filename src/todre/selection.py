"""Stage 1 for a batch: show each row's visual tokens to the method, and collect what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.facts import TokenFacts
from todre.methods.base import Method


@dataclass(frozen=True)
class Media:
    """The pictures, or the clips, of a batch.

    Attributes:
        visual: (b, q) bool, the columns that their tokens stand in.
        facts: of each entry as the model encodes it, in the order of the batch before `generate` repeats samples.
    """

    visual: Tensor
    facts: list[TokenFacts]


def media_of(facts: dict[str, list[TokenFacts]], marked: dict[str, Tensor], device: torch.device) -> list[Media]:
    """Bring the entries of a forward together with the columns that carry their tokens.

    Args:
        facts: by kind of medium, as encoded.
        marked: by kind, (b, q) bool. A model that encodes clips by the way of pictures, after the pictures, marks them
            as clips all the same.
        device: of the embeddings.
    """
    found = []
    for kind, entries in facts.items():
        mine = entries
        if kind == "image" and "video" not in facts and "video" in marked:
            tokens = int(marked["image"].sum())
            count = next((place for place, total in enumerate(_totals(entries)) if total >= tokens), len(entries))
            if bool(marked["video"].any()) and count < len(entries):
                found.append(Media(marked["video"].to(device), entries[count:]))
                mine = entries[:count]
        if mine:
            found.append(Media(marked[kind].to(device), mine))
    return found


def standing(entries: list[TokenFacts], stays: Tensor) -> list[TokenFacts]:
    """The entries without the tokens that a model encodes but leaves out of the prompt.

    Args:
        entries: facts of all encoded tokens.
        stays: (tokens of all entries,) bool.
    """
    parts = stays.flatten().bool().split([len(entry) for entry in entries])
    return [
        TokenFacts(entry.saliency[part], entry.tile[part], entry.frame[part])
        for entry, part in zip(entries, (part.to(entries[0].tile.device) for part in parts), strict=True)
    ]


def _totals(entries: list[TokenFacts]) -> list[int]:
    """Tokens of the first 0, 1, … entries together."""
    totals = [0]
    for entry in entries:
        totals.append(totals[-1] + len(entry))
    return totals


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of one sample, over all its pictures and clips, in sequence order.

    Attributes:
        embeddings: (n, d) projected embeddings, in the LLM's space.
        saliency: (n,) float32, NaN at newline tokens and where the method asked for none.
        newline: (n,) bool, newline tokens of AnyRes layouts.
        tile: (n,) int64, 0 for a thumbnail or only tile, 1.. for crops, -1 for newline tokens.
        picture: (n,) int64, which of the sample's media a token belongs to, as the model encodes them: where it sees a
            picture as separate tiles, each counts.
        frame: (n,) int64, the step in time of a clip's tokens, -1 at tokens of no frame; 0 in pictures.
    """

    embeddings: Tensor
    saliency: Tensor
    newline: Tensor
    tile: Tensor
    picture: Tensor
    frame: Tensor

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def pivots(self) -> Tensor:
        """(n,) bool, tokens that may be the pivot: a thumbnail's, or all of a picture that has no thumbnail."""
        return (self.tile == 0) if bool((self.tile >= 0).any()) else torch.ones_like(self.newline)

    def take(self, index: Tensor) -> VisualTokens:
        """The tokens at `index` (m,), int64 or bool."""
        return VisualTokens(
            self.embeddings[index],
            self.saliency[index],
            self.newline[index],
            self.tile[index],
            self.picture[index],
            self.frame[index],
        )


def visual_tokens(inputs_embeds: Tensor, media: Sequence[Media]) -> list[VisualTokens]:
    """Split a batch into its samples' visual tokens.

    `generate` repeats a sample for beams; such rows follow each other and share one object.

    Args:
        inputs_embeds: (b, q, d) embeddings with the pictures in place.
        media: the pictures and the clips.
    """
    rows = inputs_embeds.shape[0]
    repeats = _repeats(media)
    entries = [_per_sample(one, repeats) for one in media]
    samples: list[VisualTokens] = []
    for row in range(rows):
        if row % repeats:
            samples.append(samples[-1])
            continue
        taken = [(one.visual[row], facts[row // repeats]) for one, facts in zip(media, entries, strict=True)]
        samples.append(_sample(inputs_embeds[row], taken))
    return samples


def _repeats(media: Sequence[Media]) -> int:
    """How many rows there are for each sample."""
    for one in media:
        tokens, columns = sum(len(fact) for fact in one.facts), int(one.visual.sum())
        if tokens:
            if columns % tokens or one.visual.shape[0] % (columns // tokens or 1) or not columns:
                raise UnsupportedInputError(
                    f"The prompts hold {columns} visual tokens, but their pictures have {tokens}; pass pictures and "
                    "text from one call of the processor, and do not cut a picture in two (chunked prefill)."
                )
            return columns // tokens
    return 1


def _per_sample(media: Media, repeats: int) -> list[list[TokenFacts]]:
    """Deal the entries out to the samples by the number of their visual columns."""
    waiting = iter(media.facts)
    dealt = []
    for row, count in enumerate(media.visual[::repeats].sum(dim=1).tolist()):
        taken: list[TokenFacts] = []
        while sum(len(fact) for fact in taken) < count:
            fact = next(waiting, None)
            if fact is None:
                raise UnsupportedInputError(
                    f"Row {row} holds {count} visual tokens, but the pictures that were encoded give fewer; "
                    "pass pictures and text from one call of the processor."
                )
            taken.append(fact)
        have = sum(len(fact) for fact in taken)
        if have != count:
            raise UnsupportedInputError(
                f"A sample holds {count} visual tokens, but its pictures have {have}; "
                "prompts that cut a picture in two (chunked prefill) cannot be pruned: set prefill_chunk_size=None."
            )
        dealt.append(taken)
    return dealt


def _sample(embeddings: Tensor, taken: list[tuple[Tensor, list[TokenFacts]]]) -> VisualTokens:
    """One sample's tokens, pictures and clips merged in the order of the sequence."""
    device = embeddings.device
    columns, marks, saliency, count = [], [], [], 0
    for visual, facts in taken:
        columns.append(visual.nonzero().flatten())
        for fact in facts:
            saliency.append(fact.saliency.to(device))
            number = torch.full_like(fact.tile, count)
            marks.append(torch.stack([fact.tile, fact.frame, number]).to(device))
            count += 1
    where = torch.cat(columns) if columns else torch.zeros(0, dtype=torch.long, device=device)
    order = where.argsort()
    mark = torch.cat(marks, dim=1)[:, order] if marks else where.new_zeros(3, 0)
    tile, frame, number = mark
    seen = number.unique_consecutive()
    rank = torch.empty(count, dtype=torch.long, device=device)
    rank[seen] = torch.arange(len(seen), device=device)
    return VisualTokens(
        embeddings[where[order]],
        torch.cat(saliency)[order] if saliency else torch.zeros(0, device=device),
        tile < 0,
        tile,
        rank[number] if count else number,
        frame,
    )


def select_batch(method: Method, samples: list[VisualTokens], visual: Tensor) -> Tensor:
    """(b, q) bool: which visual columns `method` keeps; False at all other columns."""
    keep = visual.clone()
    if not method.selects:
        return keep
    chosen: dict[int, Tensor] = {}
    for row, sample in enumerate(samples):
        if not len(sample):
            continue
        if id(sample) not in chosen:
            chosen[id(sample)] = _chosen(method, sample).to(keep.device)
        keep[row, visual[row]] = chosen[id(sample)]
    return keep


def _chosen(method: Method, sample: VisualTokens) -> Tensor:
    """(n,) bool, with a budget of its own for each of the parts that `method.per` names."""
    keep = torch.zeros(len(sample), dtype=torch.bool, device=sample.embeddings.device)
    for part in parts(sample, method.per):
        keep[part] = method.select(sample.take(part)).to(keep.device)
    return keep


def parts(sample: VisualTokens, per: str) -> list[Tensor]:
    """Index tensors of the parts that have budgets of their own, in order.

    `sample` is one part; `image` and `clip` make one of each picture and each clip; `frame` one of each frame, to whose
    last a clip's closing tokens are counted.
    """
    everything = torch.arange(len(sample), device=sample.tile.device)
    if per == "sample":
        return [everything]
    group = sample.picture
    if per == "frame":
        frame = sample.frame.clone()
        for picture in sample.picture.unique():
            mine = sample.picture == picture
            frame[mine & (sample.frame < 0)] = sample.frame[mine].max().clamp(min=0)
        group = sample.picture * (int(frame.max()) + 1) + frame
    return [everything[group == number] for number in group.unique()]
