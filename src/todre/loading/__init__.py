"""Loading of models: found, checked, built and put on a device.

A model is a folder, a hub id or a shipped name. Whether its weights fit into memory is checked before anything is
built. Fetching belongs to `todre.hub`, processors to `todre.processing`, and which architectures can be pruned to
`todre.hf`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from todre.loading.model import Loaded, load

__all__ = ["Loaded", "load"]


def __getattr__(name: str) -> Any:
    """`load` or `Loaded`, imported when first used, since their imports take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from todre.loading import model

    return getattr(model, name)
