"""Stage 1 for a batch: show each row's visual tokens to the method, and collect what it keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.facts import ALIVE, Signal, TokenFacts
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
    return [entry.take(part.to(entry.tile.device)) for entry, part in zip(entries, parts, strict=True)]


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
        signals: by request, (n,) or (n, c) float32; NaN at newline tokens and where the tower tells nothing.
        newline: (n,) bool, newline tokens of AnyRes layouts.
        tile: (n,) int64, 0 for a thumbnail or only tile, 1.. for crops, -1 for newline tokens.
        picture: (n,) int64, which of the sample's media a token belongs to, as the model encodes them: where it sees a
            picture as separate tiles, each counts.
        frame: (n,) int64, the step in time of a clip's tokens, -1 at tokens of no frame; 0 in pictures.
        row, column: (n,) int64, where in its raster (a thumbnail, a picture's united crops, a frame) a token stands; -1
            where that is not known. It is known wherever a method asks for a signal or for `Signal("grid")`, if the
            model has a grid.
        text: (t, d) embeddings of the sample's text after its first visual token.
    """

    embeddings: Tensor
    signals: Mapping[Signal, Tensor]
    newline: Tensor
    tile: Tensor
    picture: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor
    text: Tensor

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def pivots(self) -> Tensor:
        """(n,) bool, tokens that may be the pivot: a thumbnail's, or all of a picture that has no thumbnail."""
        return (self.tile == 0) if bool((self.tile >= 0).any()) else torch.ones_like(self.newline)

    @property
    def saliency(self) -> Tensor:
        """(n,) float32, the first signal of one number per token; NaN where a method asked for none."""
        for values in self.signals.values():
            if values.ndim == 1:
                return values
        return torch.full((len(self),), torch.nan, device=self.tile.device)

    def signal(self, request: Signal) -> Tensor:
        """What is known for a request: (n,) or (n, c) float32, NaN at newline tokens.

        Raises:
            UnsupportedInputError: nothing is known of any token.
        """
        values = self.signals.get(request)
        if values is None or bool(values.isnan().all()):
            raise UnsupportedInputError(
                f"No {request.kind} signal is known for these pictures; encode pictures inside todre.prune(...), or "
                "use a method that does not need it."
            )
        return values

    def take(self, index: Tensor) -> VisualTokens:
        """The tokens at `index` (m,), int64 or bool; the text stays."""
        return VisualTokens(
            self.embeddings[index],
            {request: values[index] for request, values in self.signals.items()},
            self.newline[index],
            self.tile[index],
            self.picture[index],
            self.frame[index],
            self.row[index],
            self.column[index],
            self.text,
        )

    def with_embeddings(self, embeddings: Tensor) -> VisualTokens:
        """The same tokens with other embeddings (n, d)."""
        return dataclasses.replace(self, embeddings=embeddings)


@dataclass(frozen=True)
class Selection:
    """What a method that merges answers before the LLM.

    Attributes:
        keep: (n,) bool.
        embeddings: (n, d), in place of the embeddings of the tokens that are kept.
    """

    keep: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class Selected:
    """What is left of a batch before the LLM.

    Attributes:
        keep: (b, q) bool, the visual columns that are kept; False at all other columns.
        embeddings: (b, q, d) input embeddings with those of merged tokens in place; None where nothing was merged.
    """

    keep: Tensor
    embeddings: Tensor | None


def visual_tokens(inputs_embeds: Tensor, media: Sequence[Media], text: Tensor) -> list[VisualTokens]:
    """Split a batch into its samples' visual tokens.

    `generate` repeats a sample for beams; such rows follow each other and share one object.

    Args:
        inputs_embeds: (b, q, d) embeddings with the pictures in place.
        media: the pictures and the clips.
        text: (b, q) bool, text after a picture.
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
        samples.append(_sample(inputs_embeds[row], taken, text[row]))
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


def _sample(embeddings: Tensor, taken: list[tuple[Tensor, list[TokenFacts]]], text: Tensor) -> VisualTokens:
    """One sample's tokens, pictures and clips merged in the order of the sequence."""
    device = embeddings.device
    columns, marks = [], []
    entries: list[TokenFacts] = []
    for visual, facts in taken:
        columns.append(visual.nonzero().flatten())
        for fact in facts:
            number = torch.full_like(fact.tile, len(entries))
            marks.append(
                torch.stack([fact.tile, fact.frame, fact.place.row, fact.place.column, number], dim=0).to(device)
            )
            entries.append(fact)
    where = torch.cat(columns) if columns else torch.zeros(0, dtype=torch.long, device=device)
    order = where.argsort()
    mark = torch.cat(marks, dim=1)[:, order] if marks else where.new_zeros(5, 0)
    tile, frame, row, column, number = mark
    seen = number.unique_consecutive()
    rank = torch.empty(len(entries), dtype=torch.long, device=device)
    rank[seen] = torch.arange(len(seen), device=device)
    requests = entries[0].signals if entries else {}
    return VisualTokens(
        embeddings[where[order]],
        {request: torch.cat([fact.signals[request].to(device) for fact in entries])[order] for request in requests},
        tile < 0,
        tile,
        rank[number] if entries else number,
        frame,
        row,
        column,
        embeddings[text.to(device)],
    )


def told(samples: list[VisualTokens], visual: Tensor) -> dict[Signal, Tensor]:
    """By request, (b, q) float32: signals of one number per token at the visual columns, NaN elsewhere."""
    found: dict[Signal, Tensor] = {}
    for row, sample in enumerate(samples):
        for request, values in sample.signals.items():
            if values.ndim == 1:
                if request not in found:
                    found[request] = torch.full(visual.shape, torch.nan, device=visual.device)
                found[request][row, visual[row]] = values.to(visual.device)
    return found


def select_batch(method: Method, samples: list[VisualTokens], visual: Tensor, inputs_embeds: Tensor) -> Selected:
    """Ask `method` sample by sample.

    Args:
        method: which tokens stay.
        samples: of each row.
        visual: (b, q) bool, the visual columns.
        inputs_embeds: (b, q, d).
    """
    keep, merged = visual.clone(), None
    chosen: dict[int, Selection] = {}
    for row, sample in enumerate(samples):
        if not len(sample):
            continue
        if id(sample) not in chosen:
            chosen[id(sample)] = choose(method, sample)
        answer = chosen[id(sample)]
        keep[row, visual[row]] = answer.keep.to(keep.device)
        if answer.embeddings is not sample.embeddings:
            merged = inputs_embeds.clone() if merged is None else merged
            merged[row, visual[row].to(merged.device)] = answer.embeddings.to(merged.dtype)
    return Selected(keep, merged)


def choose(method: Method, sample: VisualTokens) -> Selection:
    """One sample's answer: what the vision tower removed goes first, then each selector takes from what is left."""
    left = torch.arange(len(sample), device=sample.tile.device)
    alive = sample.signals.get(ALIVE)
    if alive is not None:
        left = left[alive.isnan() | (alive > 0)]
    embeddings = sample.embeddings
    for selector in method.selectors():
        if not len(left):
            break
        taken = sample.take(left)
        taken = taken if embeddings is sample.embeddings else taken.with_embeddings(embeddings[left])
        keep, new = _chosen(selector, taken)
        if new is not None:
            embeddings = embeddings.clone() if embeddings is sample.embeddings else embeddings
            embeddings[left] = new.to(embeddings.dtype)
        left = left[keep]
    kept = torch.zeros(len(sample), dtype=torch.bool, device=left.device)
    kept[left] = True
    return Selection(kept, embeddings)


def _chosen(method: Method, sample: VisualTokens) -> tuple[Tensor, Tensor | None]:
    """(n,) bool, with a budget for each of the parts that `method.per` names; new embeddings if it merges."""
    keep = torch.zeros(len(sample), dtype=torch.bool, device=sample.embeddings.device)
    embeddings = None
    for part in parts(sample, method.per):
        answer = method.select(sample.take(part))
        if isinstance(answer, Selection):
            embeddings = sample.embeddings.clone() if embeddings is None else embeddings
            embeddings[part] = answer.embeddings.to(embeddings.dtype)
            answer = answer.keep
        keep[part] = answer.to(keep.device)
    return keep, embeddings


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
