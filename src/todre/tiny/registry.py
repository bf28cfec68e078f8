"""All training stages by name, and the functions that build their parts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from todre.tiny.further import FurtherStage, build_further
from todre.tiny.stages import STAGES, Parts, Stage, build_parts

FURTHER = FurtherStage()
ALL_STAGES: dict[str, Stage] = {**STAGES, FURTHER.name: FURTHER}
"""Stages by name: four that start from nothing, and the fifth, `further`."""


def builder(stage: str) -> Callable[[int, torch.device], Parts]:
    """The function that makes a stage's first parts from a seed and a device."""
    return build_further if stage == FURTHER.name else build_parts
