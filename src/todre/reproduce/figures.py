"""The papers' figures: attention by layer, kept tokens, and a radar of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.analysis.questions import Source
from todre.analysis.results import Job, Tick, finish
from todre.methods.base import Method
from todre.methods.cls_top_k import CLSTopK
from todre.methods.todre import ToDRE
from todre.plots.marks import save_figure
from todre.reproduce.recipes import Recipe

if TYPE_CHECKING:
    from todre.loading.model import Loaded

QUESTIONS = {"attention": 60, "kept": 3}
"""Number of questions that a figure asks if no limit is set."""
RETAIN = 0.1
_NEW_TOKENS = 32


@dataclass(frozen=True)
class Drawing:
    """Settings of a figure: questions, batch size, and the folder for the result.

    Args:
        folder: folder of the reproduction.
        questions: the user's own file of questions; None means scenes.
        limit: number of questions; None means the figure's number in `QUESTIONS`.
        batch_size: questions of one forward.
        command: the typed command.
        tick: function that shows progress.
    """

    folder: Path
    questions: Path | None
    limit: int | None
    batch_size: int
    command: str
    tick: Tick


def draw(recipe: Recipe, loaded: Loaded, drawing: Drawing) -> dict[str, Any]:
    """Measure what the figure shows, and write `result.json` and the picture.

    The picture's file has the recipe's name.
    """
    source = Source(drawing.questions, drawing.limit or QUESTIONS[recipe.kind])
    instrument, parameters = ("kept", _methods()) if recipe.kind == "kept" else ("migration", {})
    job = Job(
        instrument=instrument,
        parameters={**{name: method.to_dict() for name, method in parameters.items()}, "max_new_tokens": _NEW_TOKENS},
        loaded=loaded,
        source=source,
        output=drawing.folder / "result.json",
        batch_size=1 if recipe.kind == "kept" else drawing.batch_size,
        command=drawing.command,
        tick=drawing.tick,
        figure=drawing.folder / f"{recipe.name}.png",
    )
    about = {"recipe": recipe.name, "title": recipe.title, "paper": recipe.paper}
    return _kept(job, about) if recipe.kind == "kept" else _attention(job, about)


def _methods() -> dict[str, Method]:
    """The two methods of the figure: by attention alone, and by diversity alone."""
    return {
        "by attention (FasterVLM)": CLSTopK(retain=RETAIN),
        "by diversity (ToDRE)": ToDRE.v1(retain=RETAIN, stages=(1,)),
    }


def _attention(job: Job, about: dict[str, str]) -> dict[str, Any]:
    from todre.analysis.migration import migration
    from todre.plots.instruments import migration_figure

    document = {**about, **migration(job, _NEW_TOKENS)}
    finish(job, document, lambda found, path: save_figure(migration_figure(found), path))
    return document


def _kept(job: Job, about: dict[str, str]) -> dict[str, Any]:
    from todre.analysis.selections import kept, rows_of
    from todre.plots.kept_tokens import kept_tokens_figure

    document = {**about, **kept(job, tuple(_methods().items()), _NEW_TOKENS)}
    rows = rows_of(document, job.source.questions(), job.loaded)
    finish(job, document, lambda _, path: save_figure(kept_tokens_figure(rows), path))
    return document
