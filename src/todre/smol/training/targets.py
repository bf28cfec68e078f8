"""What the connector learns first: word vectors of what each patch shows.

The target of a patch is a sum of the decoder's own word embeddings: its shape, colour and size, or its digit or word,
and where in the tile it lies. The decoder then reads the picture in words that it knows already.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from todre.scenes.vocabulary import COLOURS, DIGITS, SHAPES, SIZES, WORDS
from todre.smol.prompts import Pieces
from todre.tiny.labels import GROUPS, KINDS
from todre.tiny.model import GRID

_OTHER_KINDS = {"background": ("nothing", 0.5), "digit": ("digit", 1.0), "word": ("word", 1.0)}
_PLACE = 0.7
_COLUMNS = {name: index for index, name in enumerate(GROUPS)}


class WordTargets:
    """Word vectors for patch labels.

    Args:
        table: (vocabulary, width) word embeddings of the decoder, any dtype.
        pieces: encodes words; a word of several tokens is named by its last one.
    """

    def __init__(self, table: torch.Tensor, pieces: Pieces) -> None:
        self._table, self._pieces = table.float(), pieces
        kinds = [self._kind(name) for name in KINDS]
        self.groups: dict[str, torch.Tensor] = {
            "kind": torch.stack(kinds),
            "colour": self._words(COLOURS),
            "size": self._words(SIZES),
            "digit": self._words(DIGITS),
            "word": self._words(WORDS),
        }
        self._edges = self._words(("top", "bottom", "left", "right"))
        self._centre = self._word("center")

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        """(…, width) float32 targets of patches.

        Args:
            labels: (…, 8) classes in the order of `todre.tiny.labels.GROUPS`; −1 where a group does not apply.
        """
        total = labels.new_zeros((*labels.shape[:-1], self._table.shape[1]), dtype=torch.float32)
        for name, table in self.groups.items():
            classes = labels[..., _COLUMNS[name]]
            total += table[classes.clamp(min=0)] * (classes >= 0)[..., None]
        shown = (labels[..., _COLUMNS["kind"]] > 0)[..., None]
        total += shown * _PLACE * self._place(labels)
        return total + (labels[..., _COLUMNS["centre"]] == 1)[..., None] * self._centre

    def read(self, vectors: torch.Tensor, group: str) -> torch.Tensor:
        """(…) class of a group whose word vector fits best, by squared distance."""
        table = self.groups[group]
        scores: torch.Tensor = vectors @ table.T - table.square().sum(1) / 2
        return scores.argmax(-1)

    def _place(self, labels: torch.Tensor) -> torch.Tensor:
        down, right = (labels[..., _COLUMNS[name], None] / (GRID - 1) for name in ("row", "column"))
        top, bottom, left, right_word = self._edges
        place: torch.Tensor = (1 - down) * top + down * bottom + (1 - right) * left + right * right_word
        return place

    def _kind(self, name: str) -> torch.Tensor:
        word, share = _OTHER_KINDS.get(name, ("pattern" if name not in SHAPES else name, 1.0))
        return share * self._word(word)

    def _words(self, words: Iterable[str]) -> torch.Tensor:
        return torch.stack([self._word(word) for word in words])

    def _word(self, word: str) -> torch.Tensor:
        vector: torch.Tensor = self._table[self._pieces.encode(f" {word}")[-1]]
        return vector
