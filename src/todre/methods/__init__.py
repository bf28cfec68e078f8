"""The pruning methods, one file per paper; importing them needs no torch.

`from todre.methods import DivPrune` finds any method. Other modules hold the base class (`base`), the record of facts
about a method (`card`), composition (`compose`, `recipes`), and the lookup by name (`registry`). Subpackages: `views`
holds what a method is shown and how it answers, `shared` what several methods use, `glimpse` GlimpsePrune's network.
The runtime handles batches, caches, masks and position ids.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from todre.methods import registry

    found = registry.classes()
    if name not in found:
        from todre.methods.shared.names import suggestion

        hint = suggestion(name, found)
        raise AttributeError(f"todre has no method {name!r}; {hint}`todre methods` lists all", name=None)
    return found[name]
