"""Floating-point operations (FLOPs) of a run, pruned or not.

`count` gives the true count, `convention` the count by a paper's convention. Nothing here imports torch; measured
times belong to `todre.timing` and `todre.bench`.
"""

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
