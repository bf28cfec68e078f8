"""Modules that exist in training alone: read-outs on the tower, and symbols.

Symbols are vectors that stand in for visual tokens; each is looked up by a patch's labels.
"""

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
    """Linear read-outs of the vision tower.

    One read-out predicts the labels of each patch. Two predict from [CLS], at two depths, which objects a tile holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch_head = nn.Linear(WIDTH, NUM_FEATURES, dtype=torch.float32, device="cpu")
        self.cls_head = nn.Linear(WIDTH, len(PRESENCE), dtype=torch.float32, device="cpu")
        self.last_cls_head = nn.Linear(WIDTH, len(PRESENCE), dtype=torch.float32, device="cpu")

    def loss(
        self, features: torch.Tensor, pooled: torch.Tensor, labels: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Sum of the read-outs' losses, and the accuracy of each label group.

        A group's accuracy is taken over the patches that the group applies to.

        Args:
            features: (t, 145, width) tower states that the projector reads, [CLS] first.
            pooled: (t, width) [CLS] after the tower's last norm.
            labels: (t, 144, 8) int64 classes in the order of `GROUPS`, −1 where a group does not apply.
            present: (t, classes) float32, 1 where a tile holds an object of the class.
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
        inner_cls = _normalised(features[:, 0])
        for head, state in ((self.cls_head, inner_cls), (self.last_cls_head, pooled)):
            total = total + _PRESENCE_WEIGHT * F.binary_cross_entropy_with_logits(head(state), present)
        predicted = torch.sigmoid(self.cls_head(inner_cls).detach()) > 0.5
        accuracy["cls_recall"] = float((predicted & (present > 0)).sum() / present.sum().clamp(min=1))
        return total, accuracy


def _normalised(features: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(features, features.shape[-1:])


class Symbols(nn.Module):
    """A vector for each label; a patch's vectors add up to its visual token.

    Args:
        named: word of a label → embedding (width,) from which the label starts; labels not in it start at random.
    """

    def __init__(self, named: dict[str, torch.Tensor]) -> None:
        super().__init__()
        table = torch.randn(NUM_FEATURES, WIDTH, dtype=torch.float32, device="cpu") * 0.05
        for index, name in enumerate(FEATURE_NAMES):
            if name in named:
                table[index] = named[name]
        self.symbols = nn.Parameter(table)

    def forward(self, features: torch.Tensor, newline: torch.Tensor) -> torch.Tensor:
        """(b, n, width) symbolic tokens made from label features.

        Args:
            features: (b, n, NUM_FEATURES + 1) label features; the last feature marks a newline.
            newline: (width,) the newline vector.
        """
        return features[..., :-1] @ self.symbols + features[..., -1:] * newline


def symbolic_features(scenes: list[Scene], crops: bool, rng: np.random.Generator) -> torch.Tensor:
    """(b, n, NUM_FEATURES + 1) label features of every visual token of each scene.

    Tokens are in the order of LLaVA-NeXT. With `crops`, the thumbnail comes first and the rows of the crops follow,
    each row closed by a newline. Without `crops`, the thumbnail and one newline are all, as for a picture of a single
    tile. Half of the pictures with crops have no digit or word in their thumbnail.

    Args:
        scenes: pictures of one size.
        crops: whether crops follow the thumbnail.
        rng: decides which thumbnails go without digit and word.
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
    """Features of a grid in reading order, with a newline after each row.

    Args:
        features: (rows, columns, f).

    Returns:
        (rows · (columns + 1), f + 1) float32; the last feature is 1 at newlines.
    """
    height, width, count = features.shape
    out = np.zeros((height, width + 1, count + 1), dtype=np.float32)
    out[:, :width, :count] = features
    out[:, width, count] = 1.0
    return out.reshape(-1, count + 1)
