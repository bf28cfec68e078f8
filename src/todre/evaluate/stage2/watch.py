"""Attention of questions and generated tokens to the picture, in every layer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedModelError
from todre.evaluate.packed_questions import Columns
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.model_parts import decoder_layers
from todre.tensors.attention import AttentionInputs, attention_mass, visible_keys


class AttentionWatch:
    """Mean attention of each question's columns to the picture, by layer.

    This is ToDRE's eq. 7; heads are averaged after the softmax. The text queries are all columns behind the picture.
    Averages over the queries that can see it and over all queries, as eq. 7 is printed, differ only where `unseeing` is
    above 0.

    Args:
        visual: (s,) bool, True at visual slots of the prefix.
        columns: the questions' columns.
        questions: number of questions.
        depth: number of decoder layers.

    Attributes:
        text, last, first: (layers, questions) float32: mass that all text queries, and the last alone, put on the
            picture, and all text queries on the first slot of the prompt.
        generated: (layers, questions) float32, the same mass of generated tokens, summed over those that were read.
        read: (questions,) float32, number of generated tokens that were read.
        unseeing: (questions,) float32, number of text queries that can see no visual token.
    """

    def __init__(self, visual: Tensor, columns: Columns, questions: int, depth: int) -> None:
        self._visual, self._columns, self._generating = visual, columns, False
        shape, device = (depth, questions), visual.device
        self.text, self.last, self.first, self.generated = (
            torch.zeros(shape, dtype=torch.float32, device=device) for _ in range(4)
        )
        self.read, self.unseeing = (torch.zeros(questions, dtype=torch.float32, device=device) for _ in range(2))

    def generating(self, columns: Columns) -> None:
        """Say that the next forward runs on generated tokens, the columns `columns`."""
        self._columns, self._generating = columns, True
        self.read += self._sum(torch.ones_like(columns.owner, dtype=torch.float32))

    def __call__(self, layer: int, inputs: AttentionInputs) -> None:
        """Read one forward of one layer (from 0)."""
        rows = self._columns.owner >= 0
        room = inputs.key.shape[2] - len(self._visual)
        visual = torch.nn.functional.pad(self._visual, (0, room)).expand(len(rows), -1)
        start = torch.zeros_like(visual)
        start[:, 0] = True
        places = torch.arange(rows.shape[1], dtype=torch.int64, device=rows.device)
        seen, first = attention_mass(inputs, rows, [visual, start], torch.ones_like(visual), places)
        if self._generating:
            self.generated[layer] += self._sum(seen)
            return
        shown = (visible_keys(inputs, places) & visual[:, None]).any(dim=-1)
        self.unseeing = self._sum((~shown).to(seen.dtype))
        counts = self._sum(torch.ones_like(seen))
        self.text[layer], self.first[layer] = self._sum(seen) / counts, self._sum(first) / counts
        owners = self._columns.owner
        ends = torch.zeros_like(owners, dtype=torch.bool)
        ends[:, :-1] = owners[:, :-1] != owners[:, 1:]
        ends[:, -1] = True
        self.last[layer] = self._sum(seen * ends)

    def _sum(self, values: Tensor) -> Tensor:
        """(questions,) sums of (pictures, columns) values over each question's columns."""
        owners = self._columns.owner
        kept = owners >= 0
        return torch.zeros_like(self.read).index_add_(0, owners[kept], values[kept])

    def facts(self, question: int) -> dict[str, Any]:
        """The masses of one question by layer, ready for JSON."""
        read = float(self.read[question])
        return {
            "text": _short(self.text[:, question]),
            "last": _short(self.last[:, question]),
            "first_slot": _short(self.first[:, question]),
            "generated": _short(self.generated[:, question] / read) if read else None,
        }


@contextmanager
def watching(model: Any, listener: AttentionWatch) -> Iterator[None]:
    """Show `listener` the attention of every layer in each run inside the block.

    Raises:
        UnsupportedModelError: a layer has no single attention module.
    """
    handles = []
    try:
        for index, layer in enumerate(decoder_layers(model)):
            found = attention_modules(layer)
            if len(found) != 1:
                raise UnsupportedModelError(
                    f"Layer {index + 1} is a {type(layer).__name__} with {len(found)} attention modules, and one is "
                    "needed to look at; use a model with a Llama-like decoder."
                )
            handles += watch(found[0], functools.partial(listener, index), when=lambda: True)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _short(values: Tensor) -> list[float]:
    return [round(value, 7) for value in values.tolist()]
