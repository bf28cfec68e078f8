"""A batch's visual tokens, sample by sample: what was encoded, and the columns that it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.methods.views.visual_tokens import Places, VisualTokens
from todre.tensors.token_facts import Signal, TokenFacts
from todre.tensors.transfer import upload


@dataclass(frozen=True)
class Media:
    """The pictures, or the clips, of a batch.

    Attributes:
        visual: (b, q) bool on the host, the columns that their tokens stand in.
        facts: of each entry as the model encodes it, in the order of the batch before `generate` repeats samples.
    """

    visual: Tensor
    facts: list[TokenFacts]


def media_of(facts: dict[str, list[TokenFacts]], columns_of: dict[str, Tensor]) -> list[Media]:
    """Bring the entries of a forward together with the columns that carry their tokens.

    Args:
        facts: by kind of medium, as encoded.
        columns_of: by kind, (b, q) bool on the host. A model that encodes clips by the way of pictures, after the pictures,
            marks them as clips all the same.
    """
    found = []
    for kind, entries in facts.items():
        mine = entries
        if kind == "image" and "video" not in facts and "video" in columns_of:
            tokens = int(columns_of["image"].sum())
            count = next((place for place, total in enumerate(_totals(entries)) if total >= tokens), len(entries))
            if bool(columns_of["video"].any()) and count < len(entries):
                found.append(Media(columns_of["video"], entries[count:]))
                mine = entries[:count]
        if mine:
            found.append(Media(columns_of[kind], mine))
    return found


def without_absent(entries: list[TokenFacts], stays: Tensor) -> list[TokenFacts]:
    """The entries without the tokens that a model encodes but leaves out of the prompt.

    Args:
        entries: facts of all encoded tokens.
        stays: (tokens of all entries,) bool on the host.
    """
    parts = stays.flatten().bool().split([len(entry) for entry in entries])
    return [entry.take(part.nonzero().flatten()) for entry, part in zip(entries, parts, strict=True)]


def _totals(entries: list[TokenFacts]) -> list[int]:
    """Tokens of the first 0, 1, … entries together."""
    totals = [0]
    for entry in entries:
        totals.append(totals[-1] + len(entry))
    return totals


@dataclass(frozen=True)
class Samples:
    """The visual tokens of each row of a batch.

    Attributes:
        tokens: of each row; rows that `generate` made of one sample share one object.
        columns: of each row, (n,) int64 on the host, the columns that its tokens stand in, ascending.
        device: of the embeddings.
    """

    tokens: list[VisualTokens]
    columns: list[Tensor]
    device: torch.device

    def signal_maps(self, length: int) -> dict[Signal, Tensor]:
        """By request, (b, length) float32: known signals of one number per token at their columns, NaN elsewhere."""
        found: dict[Signal, Tensor] = {}
        for row, (sample, columns) in enumerate(zip(self.tokens, self.columns, strict=True)):
            where = upload(columns, self.device)
            for request, values in sample.signals.items():
                if values.ndim != 1 or not sample.known:
                    continue
                if request not in found:
                    shape = (len(self.tokens), length)
                    found[request] = torch.full(shape, torch.nan, device=self.device, dtype=torch.float32)
                found[request][row].index_copy_(0, where, values.to(self.device))
        return found


def visual_tokens(embeds: Tensor, media: Sequence[Media], text: Tensor) -> Samples:
    """Split a batch into its samples' visual tokens.

    `generate` repeats a sample for beams; such rows follow each other and share one object.

    Args:
        embeds: (b, q, d) embeddings with the pictures in place.
        media: the pictures and the clips.
        text: (b, q) bool on the host, text after a picture.
    """
    rows = embeds.shape[0]
    repeats = _repeats(media)
    entries = [_per_sample(one, repeats) for one in media]
    samples: list[VisualTokens] = []
    columns: list[Tensor] = []
    for row in range(rows):
        taken = [(one.visual[row], facts[row // repeats]) for one, facts in zip(media, entries, strict=True)]
        nowhere = torch.zeros(0, dtype=torch.int64, device="cpu")
        where = torch.cat([nowhere, *(visual.nonzero().flatten() for visual, _ in taken)])
        columns.append(where.sort().values)
        if row % repeats:
            samples.append(samples[-1])
            continue
        samples.append(_sample(embeds[row], where, [fact for _, facts in taken for fact in facts], text[row]))
    return Samples(samples, columns, embeds.device)


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


def _sample(embeddings: Tensor, where: Tensor, entries: list[TokenFacts], text: Tensor) -> VisualTokens:
    """One sample's tokens, pictures and clips merged in the order of the sequence.

    Args:
        embeddings: (q, d).
        where: (n,) int64 on the host, the columns of the entries' tokens, one entry after the other.
        entries: facts of each.
        text: (q,) bool on the host.
    """
    device = embeddings.device
    order = where.argsort()
    places = _placed(entries, order)
    facts = (places.tile, places.frame, places.row, places.column, places.picture)
    tile, frame, row, column, picture = upload(torch.stack(facts), device)
    return VisualTokens(
        _rows(embeddings, where[order]),
        _signals(entries, order, device),
        tile < 0,
        tile,
        picture,
        frame,
        row,
        column,
        _rows(embeddings, text.nonzero().flatten()),
        places,
    )


def _placed(entries: list[TokenFacts], order: Tensor) -> Places:
    """Where the tokens of the entries stand, in the order of the sequence."""
    if not entries:
        nothing = torch.zeros(0, dtype=torch.long, device="cpu")
        none = nothing.bool()
        return Places(none, nothing, nothing, nothing, nothing, nothing, none)
    marks = [
        torch.stack([fact.tile, fact.frame, fact.place.row, fact.place.column, torch.full_like(fact.tile, number)])
        for number, fact in enumerate(entries)
    ]
    tile, frame, row, column, number = torch.cat(marks, dim=1)[:, order]
    known = torch.cat([torch.full_like(fact.tile, fact.known, dtype=torch.bool) for fact in entries])[order]
    order_of_entries = number.unique_consecutive()
    rank = torch.empty(len(entries), dtype=torch.long, device="cpu")
    rank[order_of_entries] = torch.arange(len(order_of_entries), dtype=torch.int64, device="cpu")
    return Places(tile < 0, tile, rank[number], frame, row, column, known & (tile >= 0))


def _signals(entries: list[TokenFacts], order: Tensor, device: torch.device) -> dict[Signal, Tensor]:
    """The entries' signals in the order of the sequence."""
    found = {}
    moved = not torch.equal(order, torch.arange(len(order), dtype=torch.int64, device="cpu"))
    for request in entries[0].signals if entries else ():
        values = torch.cat([fact.signals[request].to(device) for fact in entries])
        found[request] = values[upload(order, device)] if moved else values
    return found


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The rows of `x` at `index`, ascending and on the host; without a copy where they follow each other."""
    if len(index) and int(index[-1] - index[0]) + 1 == len(index):
        return x[int(index[0]) : int(index[-1]) + 1]
    return x[upload(index, x.device)]
