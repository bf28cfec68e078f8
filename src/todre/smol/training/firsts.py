"""An extra target while counts are trained: the first token of each thing.

A count says little about the picture, so what is counted is learned slowly. The first token of each thing, in the order
in which the decoder reads, can be told from what was read before, and counting these tokens is counting things. The
linear map that reads it is of training alone; it does not ship.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from todre.scenes import Scene
from todre.tiny.labels import patch_owners
from todre.tiny.model import GRID, PATCH

LAYER = 10
"""The target is read from the hidden states before this layer."""
NEWLINE = -1
"""Mark of a token that shows no patch."""
WEIGHT = 0.5
"""Factor on the loss of the marks, beside that of the answers."""
_FIRST_WEIGHT = 5.0


class Marks(nn.Module):
    """A linear map from normalised hidden states to the logit of "first of its thing".

    Args:
        width: of the decoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, dtype=torch.float32, device="cpu"))
        self.bias = nn.Parameter(torch.full((), -3.0, dtype=torch.float32, device="cpu"))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(…) float32 logits of (…, width) hidden states, any float dtype."""
        normed = F.layer_norm(states.float(), states.shape[-1:])
        return normed @ self.weight + self.bias


def first_patches(scene: Scene) -> torch.Tensor:
    """(n,) int64 marks of visual tokens.

    1 stands for the first token of a shape, 0 for others, `NEWLINE` for newlines.

    The order is that of the decoder's input: the thumbnail, then the crops' patches row by row, each row with its
    newline.

    Args:
        scene: with sides that are multiples of 16 and at most 192 pixels, so that patches and pixels line up.
    """
    width, height = scene.size
    fine = _firsts(scene, height // PATCH, width // PATCH)
    rows = np.pad(fine, ((0, 0), (0, 1)), constant_values=NEWLINE)
    return torch.from_numpy(np.concatenate([_firsts(scene, GRID, GRID).ravel(), rows.ravel()]))


def _firsts(scene: Scene, rows: int, columns: int) -> NDArray[np.int64]:
    """(rows, columns) 1 at the first cell of each shape, 0 elsewhere."""
    owners = patch_owners(scene.owners, rows, columns).ravel()
    firsts = np.zeros(rows * columns, dtype=np.int64)
    for number, thing in enumerate(scene.objects, start=1):
        places = np.flatnonzero(owners == number)
        if thing.kind == "shape" and len(places):
            firsts[places[0]] = 1
    return firsts.reshape(rows, columns)


def marks_loss(
    marks: Marks, states: torch.Tensor, targets: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Mean cross-entropy of the marks, and their F1 as counts.

    First tokens weigh more.

    Args:
        marks: the map.
        states: (b, n, width) hidden states of the visual tokens.
        targets: for each picture, (n,) as `first_patches` gives them.

    Returns:
        The loss, and "right/first" and "asked/first", whose ratio is the F1 of the marks.
    """
    wanted = torch.stack(list(targets)).to(states.device)
    shown = wanted != NEWLINE
    logits, truth = marks(states)[shown], wanted[shown].float()
    weight = torch.tensor(_FIRST_WEIGHT, dtype=torch.float32, device=states.device)
    loss = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight)
    found = (logits > 0).float()
    both = float((found * truth).sum())
    return loss, {"right/first": 2 * both, "asked/first": float(found.sum() + truth.sum())}
