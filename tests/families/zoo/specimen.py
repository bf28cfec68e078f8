"""What a tiny random model of one architecture has to offer to the tests of all families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

PAD, BOS, EOS = 0, 1, 2
FIRST_WORD, VOCAB = 20, 120
"""Ids from FIRST_WORD to VOCAB - 1 are plain text; 3..19 are free for an architecture's special tokens."""


@dataclass(frozen=True)
class Media:
    """One picture or clip: its pixels, and how it stands in a prompt.

    Attributes:
        kind: "image" or "video".
        ids: (t,) int64, everything the processor would put there: start, end, row and timestamp tokens, and one
            placeholder for each visual token.
        inputs: what the specimen's `collate` needs.
    """

    kind: str
    ids: Tensor
    inputs: dict[str, Any]


@dataclass(frozen=True)
class Specimen:
    """One architecture, tiny and random.

    Attributes:
        model_type: as in `config.model_type`.
        build: attention backend ("sdpa" or "eager") to a float32 model in evaluation mode, same weights each time.
        media: (model, kind, variant) to a picture or clip with seeded random pixels; variants 0, 1, 2 differ in size,
            and in their count of visual tokens where the architecture allows that.
        collate: (model, media of the whole batch in order) to the model's keyword arguments for pixels.
        columns: (model, ids (b, q)) to further arguments with one entry for each column, such as mm_token_type_ids.
        video: whether clips can be asked about.
        variant: told apart where one model_type has several decoders, such as "mistral".
        methods: names of the methods that this decoder takes (checks.METHODS).
    """

    model_type: str
    build: Callable[[str], Any]
    media: Callable[[Any, str, int], Media]
    collate: Callable[[Any, list[Media]], dict[str, Any]]
    columns: Callable[[Any, Tensor], dict[str, Tensor]] = field(default=lambda model, ids: {})
    video: bool = False
    variant: str = ""
    methods: tuple[str, ...] = ("both-stages", "stage-1", "stage-2")

    @property
    def name(self) -> str:
        """Name of the test case."""
        return f"{self.model_type}-{self.variant}" if self.variant else self.model_type


def generator(*seed: int) -> torch.Generator:
    """A generator for a few small numbers."""
    return torch.Generator().manual_seed(sum(number * 1009**place for place, number in enumerate(seed)) + 1)


def finish(model: Any) -> Any:
    """Set what every specimen shares: no stop token, a pad token, evaluation mode."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = PAD
    model.generation_config.bos_token_id = BOS
    return model.eval()
