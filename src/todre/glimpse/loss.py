"""Loss of the predictor: overlap with the target mask, and cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

DICE_WEIGHT = 1.0
BCE_WEIGHT = 0.1


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """(b,) dice loss of `logits` and `target`, (b, n) float32 each.

    The loss is 1 - (2 Σ p·y + 1) / (Σ p + Σ y + 1) with p = sigmoid(logits) and y = target.
    """
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum(dim=1) + 1) / (p.sum(dim=1) + target.sum(dim=1) + 1)


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over questions of dice + 0.1 · cross-entropy, with GlimpsePrune's weights."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
    return (DICE_WEIGHT * dice_loss(logits, target) + BCE_WEIGHT * entropy).mean()
