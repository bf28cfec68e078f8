"""Transfers between host and device, kept few and mostly without waiting.

Work on a GPU is queued. Reading a number back waits until the queue is empty, and so does a plain copy to the device.
The prompt is read once, before anything is queued; everything else stays where it is made, and every
shape is known on the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`, without waiting for the device's queue."""
    if x.device.type == "cpu" and device.type == "cuda" and torch.cuda.is_available():
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the host, read in one transfer; waits for their device."""
    away = [place for place, x in enumerate(tensors) if x.device.type != "cpu"]
    if not away:
        return list(tensors)
    away.sort(key=lambda place: -tensors[place].element_size())  # so that each part is aligned to its own type
    device = tensors[away[0]].device
    parts = [tensors[place].contiguous().flatten().view(torch.uint8).to(device) for place in away]
    read = torch.cat(parts).to("cpu")
    found = list(tensors)
    for place, part in zip(away, read.split([len(part) for part in parts]), strict=True):
        found[place] = part.view(tensors[place].dtype).view(tensors[place].shape)
    return found


def known_places(chosen: Tensor, count: int) -> Tensor:
    """Indices of the True entries of each row, if their number is known in advance.

    Unlike `nonzero`, this function does not wait for the device.

    Args:
        chosen: (…, n) bool.
        count: number of True entries in each row.

    Returns:
        (…, count) int64, ascending.
    """
    return chosen.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[..., :count]
