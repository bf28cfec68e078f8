"""Method specifications of the command line, such as `todre:stages=1`.

Other examples are `vtw:layer=8`, and the file `fitted.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.base import Method
from todre.methods.specs import parse as parse


@dataclass(frozen=True)
class MethodSpec:
    """A method to measure, and its name in results."""

    name: str
    method: Method


def specs_of(specs: Sequence[str], retains: Sequence[float], seed: int = 0) -> list[MethodSpec]:
    """Specifications of every method at every budget.

    A method appears once if it has no budget, or if its specification names a budget.

    Args:
        specs: as `parse` takes them, or JSON files.
        retains: budgets, as shares or counts; if empty, methods use their defaults.
        seed: seed of methods that choose at random.

    Raises:
        InvalidValueError: a setting cannot be used, or two specifications would have the same name.
    """
    found: list[MethodSpec] = []
    for spec in specs:
        if spec == "none":
            continue
        if spec.endswith(".json"):
            found.append(MethodSpec(Path(spec).stem, registry.load(spec)))
            continue
        name, settings = parse(spec)
        known = registry.entry(name).settings
        shared = {"seed": seed} if "seed" in known and "seed" not in settings else {}
        if "retain" not in known or "retain" in settings or not retains:
            found.append(MethodSpec(spec, registry.create(name, **shared, **settings)))
            continue
        for retain in retains:
            found.append(MethodSpec(f"{spec}@{retain:g}", registry.create(name, retain=retain, **shared, **settings)))
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidValueError(f"{twice!r} would be measured twice; name each method and budget once.")
    return found
