"""Questions about one picture, packed into chunks behind a shared prefix.

A chunk holds whole questions, so a token sees the prefix and its own chunk only, and attention is two small products
in place of one large masked one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from todre.scenes import Question
from todre.smol.prompts import Pieces

CHUNK = 96
"""Tokens of a chunk; a longer question gets a longer chunk."""
_IGNORED = -100


@dataclass(frozen=True)
class Packed:
    """Questions of one picture as token lists.

    Attributes:
        tokens: ids of all questions with their answers, one list per question.
        targets: for each question, the id that each token must predict; −100 where it predicts nothing.
        tasks: the task of each question.
    """

    tokens: tuple[list[int], ...]
    targets: tuple[list[int], ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Chunks:
    """Packed questions of several pictures, padded at the right.

    Attributes:
        tokens: (b, c, l) token ids, 0 at padding.
        targets: (b, c, l) id that the token must predict; −100 where it predicts nothing.
        segments: (b, c, l) number of the question (from 0) that a token belongs to, −1 at padding.
        offsets: (b, c, l) place (from 0) of the token within its question.
        allowed: (b, c, l, l) bool; entry (…, i, j) is True if token i sees token j of its chunk.
        tasks: `tasks[i][j]` is the task of question j about picture i.
    """

    tokens: torch.Tensor
    targets: torch.Tensor
    segments: torch.Tensor
    offsets: torch.Tensor
    allowed: torch.Tensor
    tasks: tuple[tuple[str, ...], ...]


def pack(pieces: Pieces, questions: Sequence[Question]) -> Packed:
    """Encode questions; the loss falls on the answers and their end tokens."""
    tokens, targets = [], []
    for question in questions:
        asked = [*pieces.encode(question.text), *pieces.turn]
        answer = [*pieces.encode(question.answer), pieces.end]
        tokens.append(asked + answer[:-1])
        targets.append([_IGNORED] * (len(asked) - 1) + answer)
    return Packed(tuple(tokens), tuple(targets), tuple(question.task for question in questions))


def collate(packs: Sequence[Packed]) -> Chunks:
    """Fill chunks with whole questions, first fit, and pad all pictures alike."""
    length = max(CHUNK, max(len(tokens) for pack in packs for tokens in pack.tokens))
    placed = [_placed([len(tokens) for tokens in pack.tokens], length) for pack in packs]
    count = max(len(chunks) for chunks in placed)
    shape = (len(packs), count, length)

    def filled(value: int) -> torch.Tensor:
        return torch.full(shape, value, dtype=torch.int64, device="cpu")

    tokens, targets, segments, offsets = filled(0), filled(_IGNORED), filled(-1), filled(0)
    for row, (packed, chunks) in enumerate(zip(packs, placed, strict=True)):
        for column, members in enumerate(chunks):
            start = 0
            for index in members:
                size = len(packed.tokens[index])
                place = (row, column, slice(start, start + size))
                tokens[place] = torch.tensor(packed.tokens[index], dtype=torch.int64, device="cpu")
                targets[place] = torch.tensor(packed.targets[index], dtype=torch.int64, device="cpu")
                segments[place] = index
                offsets[place] = torch.arange(size, dtype=torch.int64, device="cpu")
                start += size
    causal = torch.ones(length, length, dtype=torch.bool, device="cpu").tril()
    allowed = (segments[..., :, None] == segments[..., None, :]) & causal
    return Chunks(tokens, targets, segments, offsets, allowed, tuple(packed.tasks for packed in packs))


def _placed(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Indices of the questions in each chunk.

    The longest questions go first, each into the first chunk with room.
    """
    chunks: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = next((c for c, left in enumerate(room) if left >= sizes[index]), None)
        if fitting is None:
            chunks.append([index])
            room.append(length - sizes[index])
        else:
            chunks[fitting].append(index)
            room[fitting] -= sizes[index]
    return chunks
