"""Processors: from pictures, clips and text to a model's inputs.

`load_processor` gives transformers' own processor where torchvision is installed, and the same class around PIL parts
where it is not; `apply` takes a conversation through either. What can be loaded as a model belongs to `todre.loading`,
opening files to `todre.images` and `todre.clips`.
"""

from __future__ import annotations

from todre.processing.backend import check_torchvision, has_torchvision
from todre.processing.limits import check_agreement
from todre.processing.loader import load_processor
from todre.processing.prompts import apply, apply_batch, check_columns

__all__ = [
    "apply",
    "apply_batch",
    "check_agreement",
    "check_columns",
    "check_torchvision",
    "has_torchvision",
    "load_processor",
]
