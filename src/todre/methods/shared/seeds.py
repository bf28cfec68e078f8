"""Seeds of methods that choose at random, also inside compositions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from todre.methods.base import Method
from todre.methods.compose import Compose


def parts(method: Method) -> tuple[Method, ...]:
    """The methods that `method` is composed of, or `method` itself."""
    return method.methods if isinstance(method, Compose) else (method,)


def draws_at_random(method: Method) -> bool:
    """True if the method's answers depend on its seed.

    Methods that find their pivot or their order without a draw have a seed too, but do not use it.
    """
    return any(
        hasattr(part, "seed") and all(getattr(part, choice, "random") == "random" for choice in ("pivot", "ranker"))
        for part in parts(method)
    )


def reseeded(method: Method, change: Callable[[int], int]) -> Method:
    """`method` with every seed changed, also in the methods that it is composed of.

    A method without a seed is returned as it is.
    """
    if isinstance(method, Compose):
        changed = tuple(reseeded(part, change) for part in method.methods)
        return method if changed == method.methods else Compose(*changed, positions=method.positions)
    seeds = {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.name == "seed"}
    changes: dict[str, Any] = {name: change(value) for name, value in seeds.items()}
    return dataclasses.replace(method, **changes) if changes else method


def with_seed(method: Method, seed: int) -> Method:
    """`method` with this seed in every part that has one."""
    return reseeded(method, lambda own: seed)
