"""todre: training-free visual token pruning for vision-language models.

    with todre.prune(model, todre.ToDRE(retain=0.1)) as report:
        out = model.generate(**inputs, max_new_tokens=64)

Each name is imported when it is first used, so that importing todre is quick and needs no torch. This module imports
nothing at its top, so that the command line answers Ctrl-C from its first moment on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from todre.embeddings import PrunedEmbeddings, prune_embeddings
    from todre.methods.auto_budget import AutoBudget
    from todre.methods.base import Method, NoPruning
    from todre.methods.cls_top_k import CLSTopK
    from todre.methods.compose import Compose
    from todre.methods.guard import Guard, GuardFinding
    from todre.methods.random import RandomTokens
    from todre.methods.todre import ToDRE
    from todre.processing.downsampling import Downsampled, downsample
    from todre.pruning import attach, detach, prune
    from todre.report import AttentionRatios, PruningReport

__version__ = "0.1.0"

_HOMES = {
    "AttentionRatios": "todre.report",
    "AutoBudget": "todre.methods.auto_budget",
    "CLSTopK": "todre.methods.cls_top_k",
    "Compose": "todre.methods.compose",
    "Downsampled": "todre.processing.downsampling",
    "Guard": "todre.methods.guard",
    "GuardFinding": "todre.methods.guard",
    "Method": "todre.methods.base",
    "NoPruning": "todre.methods.base",
    "PrunedEmbeddings": "todre.embeddings",
    "PruningReport": "todre.report",
    "RandomTokens": "todre.methods.random",
    "ToDRE": "todre.methods.todre",
    "attach": "todre.pruning",
    "detach": "todre.pruning",
    "downsample": "todre.processing.downsampling",
    "prune": "todre.pruning",
    "prune_embeddings": "todre.embeddings",
}

__all__ = [
    "AttentionRatios",
    "AutoBudget",
    "CLSTopK",
    "Compose",
    "Downsampled",
    "Guard",
    "GuardFinding",
    "Method",
    "NoPruning",
    "PrunedEmbeddings",
    "PruningReport",
    "RandomTokens",
    "ToDRE",
    "__version__",
    "attach",
    "detach",
    "downsample",
    "prune",
    "prune_embeddings",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name[:1].isupper():  # any other method, such as todre.DivPrune
        return getattr(import_module("todre.methods"), name)
    raise AttributeError(f"module 'todre' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
