"""Coarse symbolic pictures of real scenes, for the fifth stage.

A sketch is a grid of labelled cells that stands in for the tower's visual tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from todre.hf.tower_features import layer_output, run_tower
from todre.scenes import SceneObject
from todre.tiny.data import picture_tensors, step_scenes
from todre.tiny.heads import with_newlines
from todre.tiny.labels import NUM_FEATURES, Labels, object_table, one_hot
from todre.tiny.model import GRID, build_image_processor
from todre.tiny.packed_questions import TinyModel

_SCENES = 24
_RIDGE = 3.0
_KEPT_RESIDUALS = 8192


def cell_labels(things: Sequence[SceneObject], side: int, size: float) -> Labels:
    """(side², 8) classes of a picture's cells, in the order of `GROUPS`.

    A thing hides the parts of earlier things that it covers.

    Args:
        things: the things in the picture, with centres and half extents in pixels of a `size` × `size` picture.
        side: number of cells along each axis. A cell belongs to a thing that covers its middle or is centred in it.
        size: side of the picture in pixels.
    """
    middles = (np.arange(side) + 0.5) * size / side
    owners, centres = np.zeros((side, side), dtype=np.int64), np.zeros((side, side), dtype=np.int64)
    for index, thing in enumerate(things):
        row, column = (min(side - 1, int(place * side / size)) for place in (thing.y, thing.x))
        down, across = np.abs(middles - thing.y) <= thing.half_height, np.abs(middles - thing.x) <= thing.half_width
        owners[np.ix_(down, across)] = index + 1
        owners[row, column], centres[row, column] = index + 1, 1
    where = (np.arange(side) * 2 + 1) * GRID // (2 * side)
    down, across = np.broadcast_to(where[:, None], (side, side)), np.broadcast_to(where, (side, side))
    labels = np.concatenate([object_table(things)[owners], np.stack([centres, down, across], axis=-1)], axis=-1)
    return labels.reshape(side * side, -1)


def picture_sketch(things: Sequence[SceneObject], side: int, size: float) -> NDArray[np.float32]:
    """(side · (side + 1), NUM_FEATURES + 1) label features of one picture.

    A newline follows each row. Arguments are as for `cell_labels`.
    """
    return with_newlines(one_hot(cell_labels(things, side, size)).reshape(side, side, -1))


def clip_sketch(frames: Sequence[Sequence[SceneObject]], side: int, size: float) -> NDArray[np.float32]:
    """(frames · side², NUM_FEATURES + 1) label features of a clip.

    Clips have no newlines. Arguments are as for `cell_labels`, except that `frames` holds the things of each frame.
    """
    features = np.concatenate([one_hot(cell_labels(things, side, size)) for things in frames])
    return np.pad(features, ((0, 0), (0, 1)))


class FittedSymbols(nn.Module):
    """A model's average visual token for each label, and sampled residuals.

    The averages are fitted by ridge regression to the tokens of a trained model, and the residuals are what the fit
    leaves. Nothing but the model's weights is needed.
    """

    symbols: torch.Tensor
    residuals: torch.Tensor

    def __init__(self, model: TinyModel) -> None:
        super().__init__()
        tokens, labels = _tokens(model)
        gram = labels.T @ labels + _RIDGE * torch.eye(NUM_FEATURES, dtype=torch.float32, device="cpu")
        symbols = torch.linalg.solve(gram, labels.T @ tokens)
        residuals = tokens - labels @ symbols
        chosen = torch.randperm(
            len(residuals), generator=torch.Generator().manual_seed(0), dtype=torch.int64, device="cpu"
        )[:_KEPT_RESIDUALS]
        self.register_buffer("symbols", symbols)
        self.register_buffer("residuals", residuals[chosen].clone())
        self.explained = 1 - float(residuals.var() / tokens.var())

    def forward(
        self, features: torch.Tensor, newline: torch.Tensor, rng: np.random.Generator, noise: float
    ) -> torch.Tensor:
        """(b, n, width) symbolic tokens with noise.

        Args:
            features: (b, n, NUM_FEATURES + 1) label features, the last one marking a newline.
            newline: (width,) the model's newline vector.
            rng: draws a residual for each token.
            noise: factor on the residuals.
        """
        drawn = torch.from_numpy(rng.integers(len(self.residuals), size=features.shape[:2]))
        plain = features[..., :-1] @ self.symbols + noise * self.residuals[drawn.to(self.residuals.device)]
        ends = features[..., -1:]
        return plain * (1 - ends) + ends * newline


@torch.no_grad()
def _tokens(model: TinyModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Projected tokens of thumbnails and crops, and their labels.

    Tokens are (t, width), labels (t, NUM_FEATURES).
    """
    pixels, labels, _ = picture_tensors(step_scenes(0, 1, _SCENES), build_image_processor())
    hidden = layer_output(run_tower(model.model.vision_tower, torch.cat(pixels)), -2)
    tokens = model.model.multi_modal_projector(hidden[:, 1:]).flatten(0, 1)
    return tokens, torch.from_numpy(one_hot(torch.cat(labels).numpy())).flatten(0, 1)
