"""The inputs of one call of a vision encoder in vLLM, as a whole and in parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.vllm.families import MediumInputs


def unit_counts(medium: MediumInputs, inputs: dict[str, Any]) -> list[int]:
    """Units (tiles, frames or patches) of each medium of a call."""
    if medium.counts is None:
        return [int(pixels.shape[0]) if pixels.ndim == 4 else 1 for pixels in inputs[medium.pixels]]
    counts = inputs[medium.counts]
    rows = [torch.as_tensor(each, dtype=torch.int64, device="cpu").reshape(-1) for each in counts]
    return [int(row.prod()) for row in rows]


def part_of(medium: MediumInputs, inputs: dict[str, Any], units: list[int], start: int, stop: int) -> dict[str, Any]:
    """The inputs of the media from `start` to `stop`."""
    if start == 0 and stop == len(units):
        return inputs
    found = {}
    for name, value in inputs.items():
        if name in medium.shared:
            found[name] = value
        elif name == medium.pixels and medium.counts is not None:
            found[name] = value[sum(units[:start]) : sum(units[:stop])]
        else:
            found[name] = value[start:stop]
    return found


def groups(tokens: list[int], most: int, alike: bool = False) -> list[tuple[int, int]]:
    """Successive media that are encoded together, as (start, stop).

    Args:
        tokens: the tower's tokens of each medium.
        most: the bound on their sum; a medium with more is encoded alone.
        alike: whether media of one group must have equally many, as layouts of clips ask for.
    """
    found, start, together = [], 0, 0
    for number, count in enumerate(tokens):
        if number > start and (together + count > most or (alike and count != tokens[start])):
            found.append((start, number))
            start, together = number, 0
        together += count
    return [*found, (start, len(tokens))] if tokens else []


def facts_of(medium: MediumInputs, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a layout reads, on the host, (media, …).

    Of the pixels a layout reads the shape alone, which a tensor without data says.
    """
    facts = {
        name: torch.stack([torch.as_tensor(each, dtype=torch.int64, device="cpu") for each in inputs[name]])
        for name in medium.facts
        if inputs.get(name) is not None
    }
    pixels: Tensor | list[Tensor] = inputs[medium.pixels]
    if isinstance(pixels, list) and len({each.shape for each in pixels}) == 1:
        pixels = torch.empty((len(pixels), *pixels[0].shape), dtype=pixels[0].dtype, device="meta")
    return {**facts, medium.pixels: pixels}
