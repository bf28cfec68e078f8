"""Stage 1 for a batch: show each row's visual tokens to the method, and collect what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.methods.base import Method
from todre.saliency import TokenFacts


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of one sample, over all its pictures, in sequence order.

    Attributes:
        embeddings: (n, d) projected embeddings, in the LLM's space.
        saliency: (n,) float32, NaN at newline tokens and where the method asked for none.
        newline: (n,) bool, newline tokens of AnyRes layouts.
        tile: (n,) int64, 0 for a thumbnail or only tile, 1.. for crops, -1 for newline tokens.
        picture: (n,) int64, which of the sample's pictures a token belongs to.
    """

    embeddings: Tensor
    saliency: Tensor
    newline: Tensor
    tile: Tensor
    picture: Tensor

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def pivots(self) -> Tensor:
        """(n,) bool, tokens that may be the pivot: a thumbnail's, or all of a picture that has no thumbnail."""
        return (self.tile == 0) if bool((self.tile >= 0).any()) else torch.ones_like(self.newline)


def visual_tokens(inputs_embeds: Tensor, visual: Tensor, facts: list[TokenFacts]) -> list[VisualTokens]:
    """Split a batch into its samples' visual tokens.

    `generate` repeats a sample for beams, and with it the very facts of its pictures; such rows share one object.

    Args:
        inputs_embeds: (b, q, d) embeddings with the pictures in place.
        visual: (b, q) bool, the visual columns.
        facts: one per picture, in the order of the batch.
    """
    counts = [int(count) for count in visual.sum(dim=1).tolist()]
    pictures = iter(facts)
    samples: list[VisualTokens] = []
    known: dict[tuple[int, ...], VisualTokens] = {}
    for row, count in enumerate(counts):
        taken: list[TokenFacts] = []
        while sum(len(fact.tile) for fact in taken) < count:
            fact = next(pictures, None)
            if fact is None:
                raise UnsupportedInputError(
                    f"Row {row} holds {count} visual tokens, but the pictures that were encoded give fewer; "
                    "pass pictures and text from one call of the processor."
                )
            taken.append(fact)
        source = tuple(id(fact) for fact in taken)
        if source not in known:
            known[source] = _sample(inputs_embeds[row, visual[row]], taken)
        samples.append(known[source])
    return samples


def _sample(embeddings: Tensor, facts: list[TokenFacts]) -> VisualTokens:
    device, n = embeddings.device, embeddings.shape[0]
    if not facts:
        empty = torch.zeros(0, dtype=torch.long, device=device)
        return VisualTokens(embeddings, empty.float(), empty.bool(), empty, empty)
    tile = torch.cat([fact.tile for fact in facts]).to(device)
    if len(tile) != n:
        raise UnsupportedInputError(
            f"A sample holds {n} visual tokens, but its pictures have {len(tile)}; "
            "prompts that cut a picture in two (chunked prefill) cannot be pruned: set prefill_chunk_size=None."
        )
    saliency = torch.cat([fact.saliency for fact in facts]).to(device)
    lengths = torch.tensor([len(fact.tile) for fact in facts], device=device)
    picture = torch.repeat_interleave(torch.arange(len(facts), device=device), lengths)
    return VisualTokens(embeddings, saliency, tile < 0, tile, picture)


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
            chosen[id(sample)] = method.select(sample).to(keep.device)
        keep[row, visual[row]] = chosen[id(sample)]
    return keep
