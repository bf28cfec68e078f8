"""One file per paper; importing them needs no torch. `from todre.methods import DivPrune` finds any."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from todre.methods import registry

    found = registry.classes()
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no method {name!r}; see `todre methods`")
    return found[name]
