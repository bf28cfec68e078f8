"""The subjects of a cell: no pruning, every method, and the methods' oracles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from todre.bench.method_specs import MethodSpec
from todre.bench.oracle import NoOracleError, oracle_of
from todre.bench.prompts import Prompt
from todre.bench.workloads import Pruned, Resized, Subject, Untouched, exact_length
from todre.errors import TodreError
from todre.methods.base import Method
from todre.methods.method_checks import check_prunes

Tick = Callable[[str], None]
"""Called with a description of each step before the step begins."""
Smaller = Callable[[Method], Prompt]
"""Makes a cell's prompt for a method that resizes pictures."""


def refusals(
    model: Any, prompt: Prompt, specs: Sequence[MethodSpec], tick: Tick, smaller: Smaller | None = None
) -> dict[str, str]:
    """Why methods cannot be used with this prompt, by name; the others are not named."""
    reasons = {}
    for one in specs:
        tick(f"trying {one.name}")
        try:
            with exact_length(model), subject_of(model, prompt, one, smaller).ready() as call:
                call(1, lambda: 0.0)
        except TodreError as error:
            reasons[one.name] = str(error)
    return reasons


def subject_of(model: Any, prompt: Prompt, one: MethodSpec, smaller: Smaller | None) -> Pruned | Resized:
    """The subject of a method."""
    if not one.method.in_pixels:
        return Pruned(model, prompt, one.name, one.method)
    if smaller is None:
        check_prunes(one.method)
        raise AssertionError  # pragma: no cover
    return Resized(model, smaller(one.method), one.name, one.method)


def subjects_of(
    model: Any,
    prompt: Prompt,
    specs: Sequence[MethodSpec],
    oracles: bool,
    tick: Tick,
    smaller: Smaller | None,
) -> tuple[list[Subject], dict[str, str]]:
    """All subjects, and, by method name, the reasons why methods have no oracle."""
    subjects: list[Subject] = [Untouched(model, prompt)]
    reasons: dict[str, str] = {}
    for one in specs:
        pruned = subject_of(model, prompt, one, smaller)
        subjects.append(pruned)
        if isinstance(pruned, Resized):
            reasons[one.name] = "nothing is pruned: the model itself makes fewer visual tokens of a smaller picture"
        elif oracles:
            tick(f"shortening by hand for {one.name}")
            try:
                subjects.append(oracle_of(pruned))
            except NoOracleError as reason:
                reasons[one.name] = str(reason)
    return subjects, reasons
