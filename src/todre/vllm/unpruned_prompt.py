"""A prompt as it would be without pruning, by which vLLM numbers its tokens.

M-RoPE numbers text behind a picture by the picture's sides, and a picture's tokens by rows and columns. Each family has
its own rules, which vLLM's models know for whole media: they are asked about the prompt before pruning, so nothing of
them is repeated here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from todre.vllm.budget_field import unpacked_retains
from todre.vllm.families import ServedFamily
from todre.vllm.settings import is_all

Numbering = Callable[[list[int], list[Any]], tuple[Tensor, int]]
"""A model's `get_mrope_input_positions`, whose positions are (3, q) int64."""
FullIds = Callable[[str, Mapping[str, Any]], list[int]]
"""The ids of one medium before pruning, by its kind and vLLM's records of inputs."""


def is_pruned(family: ServedFamily, feature: Any) -> bool:
    """True if a medium of a prompt has a budget below all."""
    field = next((each.retain for each in family.media if each.kind == feature.modality), None)
    if field is None or feature.data is None or field not in feature.data:
        return False
    (retain,) = unpacked_retains(feature.data[field].data)
    return not is_all(retain)


def positions(
    tokens: list[int], media: Sequence[Any], pruned: Sequence[bool], full: FullIds, number: Numbering
) -> tuple[Tensor, int]:
    """Positions of a pruned prompt, as `Numbering` gives them.

    Text has the positions of the unpruned prompt. All columns of a pruned medium have the position of its first column,
    to which its tokens' places are added once they are known.

    Args:
        tokens: ids of the prompt.
        media: vLLM's records of its media, by their places in the prompt.
        pruned: which of them are pruned.
        full: gives the ids of a medium before pruning.
        number: numbers an unpruned prompt.
    """
    ids: list[int] = []
    columns: list[int] = []
    shifted, done = [], 0
    for feature, is_shorter in zip(media, pruned, strict=True):
        start, length = feature.mm_position.offset, feature.mm_position.length
        columns += range(len(ids), len(ids) + start - done)
        ids += tokens[done:start]
        whole = full(feature.modality, feature.data) if is_shorter else tokens[start : start + length]
        place = type(feature.mm_position)(offset=len(ids), length=len(whole))
        shifted.append(dataclasses.replace(feature, mm_position=place))
        columns += [len(ids)] * length if is_shorter else range(len(ids), len(ids) + length)
        ids += whole
        done = start + length
    columns += range(len(ids), len(ids) + len(tokens) - done)
    ids += tokens[done:]
    found, behind = number(ids, shifted)
    return found[:, torch.tensor(columns, dtype=torch.int64, device="cpu")], behind + len(ids) - len(tokens)


def places(kind: str, fields: Mapping[str, Any], ids: list[int], number: Numbering) -> Tensor:
    """Where the columns of one medium stand from its first, (n, 3) int64 on the host.

    Args:
        kind: `image` or `video`.
        fields: the medium's inputs, by name.
        ids: its ids before pruning.
        number: numbers an unpruned prompt.
    """
    place = SimpleNamespace(offset=0, length=len(ids))
    found, _ = number(ids, [SimpleNamespace(modality=kind, data=fields, mm_position=place)])
    return (found - found[:, :1]).T.contiguous()
