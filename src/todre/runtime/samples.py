"""The visual tokens of each sample in a batch: their facts and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.methods.views.visual_tokens import Places, VisualTokens
from todre.tensors.token_facts import STROKES, Signal, TokenFacts
from todre.tensors.transfer import upload


@dataclass(frozen=True)
class Media:
    """The pictures, or the clips, of a batch.

    Attributes:
        visual: (b, q) bool on the host, the columns of the pictures' or clips' tokens.
        facts: facts about the tokens of each entry that the model encodes, in the batch's order before `generate`
            repeats samples.
    """

    visual: Tensor
    facts: list[TokenFacts]


def media_of(facts: dict[str, list[TokenFacts]], columns_of: dict[str, Tensor]) -> list[Media]:
    """The encoded entries of a forward, with the columns that carry their tokens.

    Args:
        facts: by kind of medium, as encoded.
        columns_of: by kind of medium, (b, q) bool on the host. A model that encodes clips as pictures, after the
            pictures, still marks them as clips.
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
    """The entries, less the tokens that a model encodes but keeps out of the prompt.

    Args:
        entries: facts of all encoded tokens.
        stays: (tokens of all entries,) bool on the host, True where a token stands in the prompt.
    """
    parts = stays.flatten().bool().split([len(entry) for entry in entries])
    return [entry.take(part.nonzero().flatten()) for entry, part in zip(entries, parts, strict=True)]


def _totals(entries: list[TokenFacts]) -> list[int]:
    """Running totals: tokens of the first 0, 1, 2, … entries together."""
    totals = [0]
    for entry in entries:
        totals.append(totals[-1] + len(entry))
    return totals


@dataclass(frozen=True)
class Samples:
    """The visual tokens of each row of a batch.

    Attributes:
        tokens: for each row, its visual tokens; rows that `generate` made of one sample share one object.
        columns: for each row, (n,) int64 on the host, the columns of its visual tokens, ascending.
        device: the device of the embeddings.
    """

    tokens: list[VisualTokens]
    columns: list[Tensor]
    device: torch.device

    def signal_maps(self, length: int) -> dict[Signal, Tensor]:
        """By request, the one-channel signals laid out on columns, (b, length) float32.

        Columns without a known signal hold NaN.
        """
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
    """The visual tokens of each row of a batch.

    Rows that `generate` repeats for beams follow each other and share one object.

    Args:
        embeds: (b, q, d) embeddings with the pictures in place.
        media: the pictures and the clips.
        text: (b, q) bool on the host, columns of text after a picture.

    Raises:
        UnsupportedInputError: the pictures do not have as many tokens as the prompts.
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
    """Number of rows that `generate` made of each sample.

    Raises:
        UnsupportedInputError: the prompts' visual tokens are no multiple of the pictures'.
    """
    for one in media:
        tokens, columns = sum(len(fact) for fact in one.facts), int(one.visual.sum())
        if tokens:
            if columns % tokens or one.visual.shape[0] % (columns // tokens or 1) or not columns:
                raise UnsupportedInputError(
                    f"The prompts hold {columns} visual tokens, but their pictures have {tokens}; pass pictures and "
                    "text from one call of the processor, and do not cut a picture in two (chunked prefill)."
                )
            # `generate` repeats ids for beams, but facts stay those of the encoded media: counting says how often.
            return columns // tokens
    return 1


def _per_sample(media: Media, repeats: int) -> list[list[TokenFacts]]:
    """The entries of each sample, split by the samples' numbers of visual columns.

    Raises:
        UnsupportedInputError: a sample's entries do not have as many tokens as its columns.
    """
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
    """One sample's visual tokens, pictures and clips in the order of the sequence.

    Args:
        embeddings: (q, d) embeddings of the row.
        where: (n,) int64 on the host, columns of the entries' tokens, one entry after the other.
        entries: facts of each entry.
        text: (q,) bool on the host, columns of text after a picture.
    """
    device = embeddings.device
    order = where.argsort()
    places = _places_of(entries, order)
    facts = (places.tile, places.frame, places.row, places.column, places.picture)
    tile, frame, row, column, picture = upload(torch.stack(facts), device)
    return VisualTokens(
        embeddings=_rows(embeddings, where[order]),
        signals=_signals(entries, order, device),
        newline=tile < 0,
        tile=tile,
        picture=picture,
        frame=frame,
        row=row,
        column=column,
        text=_rows(embeddings, text.nonzero().flatten()),
        places=places,
    )


def _places_of(entries: list[TokenFacts], order: Tensor) -> Places:
    """Places of the entries' tokens, in the order of the sequence."""
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
    """Signals of the entries' tokens, in the order of the sequence."""
    found = {}
    moved = not torch.equal(order, torch.arange(len(order), dtype=torch.int64, device="cpu"))
    asked = [request for request in entries[0].signals if request != STROKES] if entries else []
    # Pictures may have been encoded in several blocks, of which some look for strokes and some do not.
    if any(STROKES in fact.signals for fact in entries):
        asked.append(STROKES)
    for request in asked:
        parts = [_strokes(fact) if request == STROKES else fact.signals[request] for fact in entries]
        values = torch.cat([part.to(device) for part in parts])
        found[request] = values[upload(order, device)] if moved else values
    return found


def _strokes(fact: TokenFacts) -> Tensor:
    """The strokes of an entry's tokens, (n,) float32; NaN where not looked for."""
    unseen = torch.full((len(fact),), torch.nan, dtype=torch.float32, device="cpu")
    return fact.signals.get(STROKES, unseen)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of `x` at `index`; a view if these rows follow each other.

    Args:
        x: (q, d).
        index: (n,) int64 on the host, ascending.
    """
    if len(index) and int(index[-1] - index[0]) + 1 == len(index):
        return x[int(index[0]) : int(index[-1]) + 1]
    return x[upload(index, x.device)]
