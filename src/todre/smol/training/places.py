"""Between stages: make the connector say louder where a patch lies.

Word vectors of opposite places ("top", "bottom") are alike, so the warm start writes places faintly, and questions
that compare places are learned late. This step adds two directions to the connector's output, for row and column, read
linearly from its own hidden layer; nothing else changes, and training goes on from there.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from todre.smol.prompts import Pieces
from todre.smol.training.learner import Learner
from todre.smol.training.warm import patches_of
from todre.tiny.labels import GROUPS
from todre.tiny.model import GRID

GAIN = 4.0
"""Distance in the decoder's input between the two edges of a tile.

A word's vector has a norm of about 2.4.
"""
_RIDGE = 1e-3
_ROW, _COLUMN = (list(GROUPS).index(name) for name in ("row", "column"))


@torch.no_grad()
def strengthen_places(learner: Learner, scenes: int) -> dict[str, float]:
    """Add a linear code of row and column to the connector, in place.

    Args:
        learner: its connector changes.
        scenes: pictures whose patches the code is fitted on; a tenth of the patches is held out.

    Returns:
        "row" and "column" → share of variance that the code explains on held-out patches.
    """
    connector: Any = learner.connector
    features, labels = patches_of(learner, scenes)
    hidden = F.gelu(connector.linear_1(features)).double()
    places = labels[:, [_ROW, _COLUMN]].double() / (GRID - 1) - 0.5
    held = len(labels) // 10
    mean = hidden[held:].mean(0)
    centred = hidden[held:] - mean
    gram = centred.T @ centred / len(centred)
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    code = torch.linalg.solve(gram + ridge, centred.T @ places[held:] / len(centred))
    error = (hidden[:held] - mean) @ code - places[:held]
    explained = 1 - error.square().mean(0) / places[:held].var(0)
    directions = GAIN * place_directions(learner.model.get_input_embeddings().weight, learner.pieces)
    added = (code @ directions).T
    connector.linear_2.weight.add_(added.float())
    connector.linear_2.bias.sub_((added @ mean).float())
    return {"row": round(float(explained[0]), 4), "column": round(float(explained[1]), 4)}


def place_directions(table: torch.Tensor, pieces: Pieces) -> torch.Tensor:
    """(2, width) float64 orthonormal directions: down, and to the right.

    Args:
        table: (vocabulary, width) word embeddings of the decoder.
        pieces: encodes words.
    """
    top, bottom, left, right = (
        table[pieces.encode(f" {word}")[-1]].double() for word in ("top", "bottom", "left", "right")
    )
    down = F.normalize(bottom - top, dim=0)
    across = right - left
    return torch.stack([down, F.normalize(across - (across @ down) * down, dim=0)])
