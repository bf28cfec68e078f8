"""Floating-point operations: what a pruned or unpruned run costs, truly counted and by the papers' conventions."""

from __future__ import annotations

from todre.flops.config_shapes import from_config
from todre.flops.conventions import CONVENTIONS, convention
from todre.flops.count import FlopCount, PhaseFlops, count, selection_flops
from todre.flops.prompt import count_prompt
from todre.flops.shape import PRESETS, ModelShape, Projector, Stack, VisionTower

__all__ = [
    "CONVENTIONS",
    "PRESETS",
    "FlopCount",
    "ModelShape",
    "PhaseFlops",
    "Projector",
    "Stack",
    "VisionTower",
    "convention",
    "count",
    "count_prompt",
    "from_config",
    "selection_flops",
]
