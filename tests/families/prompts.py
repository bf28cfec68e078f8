"""Prompts and padded batches for any specimen, and a check that the specimen itself is sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from families.zoo.specimen import FIRST_WORD, PAD, VOCAB, Media, Specimen, generator
from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """Text ids and media in the order in which they stand."""

    parts: tuple[Tensor | Media, ...]

    @property
    def media(self) -> list[Media]:
        """The pictures and clips in order."""
        return [part for part in self.parts if isinstance(part, Media)]

    @property
    def ids(self) -> Tensor:
        """(q,) int64."""
        return torch.cat([part.ids if isinstance(part, Media) else part for part in self.parts])


def words(count: int, seed: int) -> Tensor:
    """Random plain text, (count,) int64."""
    return torch.randint(FIRST_WORD, VOCAB, (count,), generator=generator(5, seed))


def prompt(before: int, media: list[Media], after: int, seed: int = 0, between: int = 3) -> Prompt:
    """`before` text tokens, the media with `between` text tokens between them, `after` text tokens."""
    parts: list[Tensor | Media] = [words(before, seed)]
    for index, one in enumerate(media):
        if index:
            parts.append(words(between, seed + 100 + index))
        parts.append(one)
    return Prompt((*parts, words(after, seed + 200)))


def batch(specimen: Specimen, model: Any, prompts: list[Prompt], side: str = "left") -> dict[str, Any]:
    """Model inputs for a padded batch."""
    rows = [one.ids for one in prompts]
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
        ids[index, place], mask[index, place] = row, 1
    pixels = specimen.collate(model, [media for one in prompts for media in one.media])
    return {"input_ids": ids, "attention_mask": mask, **specimen.columns(model, ids), **pixels}


def ragged(specimen: Specimen, model: Any, kind: str = "image") -> list[Prompt]:
    """One picture, two pictures of other sizes, and no picture."""
    media = [specimen.media(model, kind, variant) for variant in range(3)]
    return [prompt(7, media[:1], 6, seed=1), prompt(4, media[1:], 9, seed=2), prompt(12, [], 5, seed=3)]


@torch.no_grad()
def check_untouched(specimen: Specimen, backend: str = "sdpa", kind: str = "image", steps: int = 4) -> float:
    """Largest difference between a left-padded batch and its singles over `steps` greedy steps, untouched model."""
    model = specimen.build(backend)
    prompts = ragged(specimen, model, kind)
    options: dict[str, Any] = {
        "max_new_tokens": steps,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        "suppress_tokens": list(range(FIRST_WORD)),
    }
    together = model.generate(**batch(specimen, model, prompts), **options)
    worst = 0.0
    for row, one in enumerate(prompts):
        alone = model.generate(**batch(specimen, model, [one]), **options)
        assert torch.equal(together.sequences[row, -steps:], alone.sequences[0, -steps:]), specimen.name
        for many, single in zip(together.logits, alone.logits, strict=True):
            worst = max(worst, float((many[row] - single[0]).abs().max()))
    return worst
