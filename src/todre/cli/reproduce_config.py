"""The settings of one `todre reproduce` run, and the options of each route."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from todre.cli.options import Reporting
from todre.cli.reproduce_options import (
    ConsentOptions,
    HarnessOptions,
    MeasureOptions,
    PaperModelOptions,
    ScopeOptions,
    ShippedOptions,
)
from todre.reproduce.recipes import Recipe

_LOADING = {"device", "dtype", "attn_implementation", "trust_remote_code"}
_SCORES = {"limit", "benchmarks"}
ALWAYS = {"name", "listed", "model", "on", "output", "force", "yes", "dry_run", "json", "quiet", "verbose"}
"""Options that change something on every route."""
USED = {
    "figure": _LOADING | {"limit", "questions", "batch_size"},
    "costs": _LOADING | {"benchmarks", "rounds"},
    "tiny": _SCORES | {"processes", "draws", "seed"},
    "real": _SCORES | _LOADING | {
        "task_map", "include_path", "budget", "seconds_per_question", "python", "ranks", "batch_size",
    },
}  # fmt: skip
"""By route of `reproduce_routes`, the options that matter there besides `ALWAYS`."""


def route_of(kind: str, tiny: bool) -> str:
    """The route of a kind of recipe, a key of `USED`."""
    if kind in ("attention", "kept"):
        return "figure"
    if kind == "efficiency":
        return "costs"
    return "tiny" if tiny else "real"


@dataclass(frozen=True)
class ReproduceConfig:
    """One run of a recipe.

    Attributes:
        recipe: the table or figure.
        tiny: whether it is measured on the model that ships.
        folder: where the result goes.
        model: the model, where it is not the one that ships.
        consent: whether the work begins, and whether that is asked for first.
        scope: how much of it is measured.
        harness: of scores on a real model.
        shipped: of scores on the model that ships.
        measure: of costs, and of what figures and scores are asked.
        reporting: how the result is shown.
    """

    recipe: Recipe
    tiny: bool
    folder: Path
    model: PaperModelOptions
    consent: ConsentOptions
    scope: ScopeOptions
    harness: HarnessOptions
    shipped: ShippedOptions
    measure: MeasureOptions
    reporting: Reporting

    @property
    def route(self) -> str:
        """The route of the recipe, a key of `USED`."""
        return route_of(self.recipe.kind, self.tiny)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that were named; empty for all."""
        return self.scope.benchmarks or ()

    def model_name(self, published: str) -> str | None:
        """The model to load: the user's, else the paper's; None for the shipped one."""
        return None if self.tiny else self.model.model or published
