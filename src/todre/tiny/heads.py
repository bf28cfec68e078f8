"""Parts that exist in training alone: read-outs on the tower, and the table that turns labels into visual tokens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from todre.scenes import Scene
from todre.tiny.labels import FEATURE_NAMES, GROUPS, NUM_FEATURES, PRESENCE, fine_labels, one_hot, thumbnail_labels
from todre.tiny.model import WIDTH

_WEIGHTS = {
    "kind": 3.0,
    "colour": 0.5,
    "size": 0.3,
    "digit": 1.5,
    "word": 1.5,
    "centre": 0.3,
    "row": 0.1,
    "column": 0.1,
}
_BACKGROUND_WEIGHT = 0.25
_PRESENCE_WEIGHT = 4.0


class TowerHeads(nn.Module):
    """Linear read-outs: labels of each patch, and from [CLS], at two depths, which objects a tile holds."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_head = nn.Linear(WIDTH, NUM_FEATURES, dtype=torch.float32, device="cpu")
        self.cls_head = nn.Linear(WIDTH, len(PRESENCE), dtype=torch.float32, device="cpu")
        self.last_cls_head = nn.Linear(WIDTH, len(PRESENCE), dtype=torch.float32, device="cpu")

    def loss(
        self, features: torch.Tensor, pooled: torch.Tensor, labels: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Sum of the read-outs' losses, and each patch group's accuracy where it applies.

        Shapes: features (t, 145, width), pooled (t, width), labels (t, 144, 8), present (t, classes).
        """
        logits = self.patch_head(_normalised(features[:, 1:])).split(list(GROUPS.values()), dim=-1)
        total = features.new_zeros(())
        accuracy: dict[str, float] = {}
        for index, (name, scores) in enumerate(zip(GROUPS, logits, strict=True)):
            truth = labels[..., index]
            applies = truth >= 0
            if not bool(applies.any()):
                continue
            weight = None
            if name in ("kind", "centre"):
                weight = torch.ones(scores.shape[-1], device=scores.device, dtype=torch.float32)
                weight[0] = _BACKGROUND_WEIGHT
            total = total + _WEIGHTS[name] * F.cross_entropy(scores[applies], truth[applies], weight=weight)
            counted = (truth > 0) if name in ("kind", "centre") else applies
            accuracy[name] = float((scores.argmax(-1) == truth)[counted].float().mean())
        found_in = _normalised(features[:, 0])
        for head, state in ((self.cls_head, found_in), (self.last_cls_head, pooled)):
            total = total + _PRESENCE_WEIGHT * F.binary_cross_entropy_with_logits(head(state), present)
        found = torch.sigmoid(self.cls_head(found_in).detach()) > 0.5
        accuracy["cls_recall"] = float((found & (present > 0)).sum() / present.sum().clamp(min=1))
        return total, accuracy


def _normalised(features: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(features, features.shape[-1:])


class Symbols(nn.Module):
    """A vector for each patch label; their sum stands in for the projected visual token.

    Args:
        named: label's word → its embedding (width,), which the label starts from; the other labels start at random.
    """

    def __init__(self, named: dict[str, torch.Tensor]) -> None:
        super().__init__()
        table = torch.randn(NUM_FEATURES, WIDTH, dtype=torch.float32, device="cpu") * 0.05
        for index, name in enumerate(FEATURE_NAMES):
            if name in named:
                table[index] = named[name]
        self.symbols = nn.Parameter(table)

    def forward(self, features: torch.Tensor, newline: torch.Tensor) -> torch.Tensor:
        """(b, n, NUM_FEATURES + 1) label features, the last one marking a newline → (b, n, width)."""
        return features[..., :-1] @ self.symbols + features[..., -1:] * newline


def symbolic_features(scenes: list[Scene], crops: bool, rng: np.random.Generator) -> torch.Tensor:
    """(b, n, NUM_FEATURES + 1) features of every visual token of each scene, in the order of LLaVA-NeXT.

    With `crops`: thumbnail, then the rows of the crops with a newline each; without: thumbnail and one newline, which
    is how a picture of a single tile is laid out. Half of the full pictures have no digit or word in the thumbnail.
    """
    rows = []
    for scene in scenes:
        thumbnail = thumbnail_labels(scene)
        if not crops:
            rows.append(with_newlines(one_hot(thumbnail)[None]))
            continue
        if rng.random() < 0.5:
            thumbnail[:, 3:5] = -1
        fine = with_newlines(one_hot(fine_labels(scene)))
        plain = np.pad(one_hot(thumbnail), ((0, 0), (0, 1)))
        rows.append(np.concatenate([plain, fine]))
    return torch.from_numpy(np.stack(rows))


def with_newlines(features: np.ndarray) -> np.ndarray:
    """(rows, columns, f) → (rows · (columns + 1), f + 1) with a newline after each row."""
    height, width, count = features.shape
    out = np.zeros((height, width + 1, count + 1), dtype=np.float32)
    out[:, :width, :count] = features
    out[:, width, count] = 1.0
    return out.reshape(-1, count + 1)
