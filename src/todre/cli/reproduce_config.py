"""The settings of one `todre reproduce` run, and the options of each route."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from todre.cli.options import Reporting
from todre.cli.reproduce_options import (
    TINY,
    ConsentOptions,
    HarnessOptions,
    MeasureOptions,
    PaperModelOptions,
    ScopeOptions,
    ShippedOptions,
)
from todre.reproduce.recipes import Recipe

_LOADING = {"device", "dtype", "attn_implementation", "trust_remote_code"}
_SCORES = {"limit", "benchmarks", "beside"}
ALWAYS = {"name", "listed", "model", "on", "output", "force", "yes", "dry_run", "json", "quiet", "verbose"}
"""Names of the options that have an effect on every route."""
USED = {
    "figure": _LOADING | {"limit", "questions", "batch_size"},
    "costs": _LOADING | {"benchmarks", "rounds"},
    "small": _SCORES | _LOADING | {"processes", "draws", "seed"},
    "real": _SCORES | _LOADING | {
        "task_map", "include_path", "budget", "seconds_per_question", "python", "ranks", "batch_size",
    },
}  # fmt: skip
"""Options that have an effect besides `ALWAYS`, by route of `reproduce_routes`."""


def route_of(kind: str, small: bool) -> str:
    """The route for a kind of recipe; a key of `USED`."""
    if kind in ("attention", "kept"):
        return "figure"
    if kind == "efficiency":
        return "costs"
    return "small" if small else "real"


@dataclass(frozen=True)
class ReproduceConfig:
    """One run of a recipe.

    Attributes:
        recipe: the table or figure.
        on: the small model that the recipe is measured on; None for a real one.
        folder: where the result goes.
        force: whether a finished result is replaced.
        model: options of the model; a small one is named by `on`.
        consent: options that say whether the work begins, and whether the user is asked first.
        scope: options that say how much of the table or figure is measured.
        harness: options for scores on a real model.
        shipped: options for scores on a small model.
        measure: options for batch size, rounds of costs, and the user's own questions.
        reporting: options that say how the result is shown.
    """

    recipe: Recipe
    on: str | None
    folder: Path
    force: bool
    model: PaperModelOptions
    consent: ConsentOptions
    scope: ScopeOptions
    harness: HarnessOptions
    shipped: ShippedOptions
    measure: MeasureOptions
    reporting: Reporting

    @property
    def route(self) -> str:
        """The route for the recipe; a key of `USED`."""
        return route_of(self.recipe.kind, self.on is not None)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that the user named; empty means all."""
        return self.scope.benchmarks or ()

    @property
    def small(self) -> str | None:
        """The small model as -m takes it; None for the one that ships whole."""
        return None if self.on == TINY else self.on

    def model_name(self, published: str) -> str | None:
        """The model to load; None means the one that ships whole."""
        return self.small if self.on else self.model.model or published
