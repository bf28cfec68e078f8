"""`todre animate`: animations that explain pruning on one picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from todre.cli import options as opt
from todre.cli.budget_options import AnimateRetains
from todre.cli.console import check_output, note, progress, show_json, show_text, working
from todre.cli.ignored_options import check_taken
from todre.cli.method_names import files_among, make_pruning
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import check_question, one_of, usage
from todre.files.locations import label_of, local_file
from todre.methods.shared.ordered import ordered
from todre.plots.animation_limits import (
    LEAST_DURATION,
    LEAST_WIDTH,
    MOST_DURATION,
    MOST_FRAMES,
    MOST_WIDTH,
    STEP,
    SUFFIXES,
)

if TYPE_CHECKING:
    from todre.loading.model import Loaded
    from todre.methods.auto_budget import AutoBudget
    from todre.methods.base import Method
    from todre.plots.animation_frames import Animation
    from todre.running import Settings

Kind = Literal["order", "budget", "layers"]
DURATIONS: dict[Kind, int] = {"order": 100, "budget": 800, "layers": 800}
"""Milliseconds of a frame where --duration is not set."""
BUDGETS = (
    *(1.0, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.18, 0.16, 0.14, 0.12, 0.1),
    *(0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02),
)
"""Budgets of --show budget where --retain is not set."""

Picture = Annotated[
    str, typer.Argument(metavar="PICTURE", help="An image: a file, a page (a.pdf#page=2), a URL, or - (stdin).")
]
Question = Annotated[str, typer.Argument(help="The question, in quotes.")]
Output = Annotated[Path, typer.Option("--output", help="The animation: .gif, .webp, or .mp4 (needs the extra video).")]
Show = Annotated[
    Kind,
    typer.Option(
        "--show",
        parser=one_of(*get_args(Kind)),
        metavar="WHAT",
        help="order: tokens in the order of choosing, and the coverage radius; budget: answers while the share kept "
        "falls; layers: tokens that each decoder layer runs on.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        "--frames",
        min=1,
        max=MOST_FRAMES,
        help=f"Most frames of --show order; where more tokens are chosen, a frame adds several. Without it, "
        f"{MOST_FRAMES}.",
    ),
]
Duration = Annotated[
    int | None,
    typer.Option(
        "--duration",
        min=LEAST_DURATION,
        max=MOST_DURATION,
        help=f"Milliseconds that a frame is shown, a multiple of {STEP}. Without it, {DURATIONS['order']} for order, "
        f"{DURATIONS['budget']} for the others.",
    ),
]
Width = Annotated[
    int, typer.Option("--width", min=LEAST_WIDTH, max=MOST_WIDTH, help="Width of the animation in pixels.")
]


def animate(
    image: Picture,
    question: Question,
    output: Output,
    show: Show = "order",
    model: ModelOptions = ModelOptions(),
    method: opt.MethodName = "todre",
    retain: AnimateRetains = None,
    frames: Frames = None,
    duration: Duration = None,
    width: Width = 640,
    allow_urls: opt.AllowUrls = False,
    force: opt.Force = False,
    max_new_tokens: opt.NewTokens = 64,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Animate what a method does to a picture: which tokens stay, and why.

    The answers go to stdout, and the animation to a file whose suffix names its kind.
    """
    check_question(question)
    _check_options(show, method, retain, frames, duration)
    with usage():
        budgets = _budgets(show, method, retain, seed)
    if show == "order":
        ordered(budgets[0][1], method)
    from todre.inputs import one_picture, open_picture, reading_for

    image = one_picture(image)
    check_output(output, SUFFIXES, (local_file(image), model.model, *files_among(method)), force)
    _check_packages(output)
    picture = open_picture(image, reading_for(allow_urls))
    with working(reporting.silent):
        from todre.cli.toy_models import say_if_toy
        from todre.plots.animation_files import write_animation
        from todre.plots.animations import animation_images
        from todre.running import Settings

        loaded = model.load(reporting.quiet)
        settings = Settings(max_new_tokens, seed or 0)
        made = _compute(show, loaded, picture, question, budgets, settings, frames or MOST_FRAMES, reporting.silent)
        with progress(len(made.frames), reporting.silent) as begin:
            images = []
            for drawn in animation_images(dataclasses.replace(made, method=method), width):
                begin("drawing")
                images.append(drawn)
        write_animation(images, output, duration or DURATIONS[show])
    if reporting.json:
        show_json(_document(made, show, label_of(image), output, budgets, settings, loaded))
        return
    for line in _answers(made):
        show_text(line)
    say_if_toy(loaded, reporting.quiet)
    note(f"wrote {output} ({len(images)} frames, {output.stat().st_size / 1000:.0f} kB)", reporting.quiet)


def _check_options(
    show: Kind, method: str, retain: tuple[float | AutoBudget, ...] | None, frames: int | None, duration: int | None
) -> None:
    """Refuse options that contradict --show, or that would change nothing."""
    if duration is not None and duration % STEP:
        raise typer.BadParameter(f"--duration {duration} is no multiple of {STEP}; GIF counts no smaller steps.")
    if frames is not None and show != "order":
        raise typer.BadParameter(f"--frames would change nothing with --show {show}; leave it out.")
    if retain is not None and len(retain) > 1 and show != "budget":
        raise typer.BadParameter(f"--show {show} takes one budget, and --retain names {len(retain)}; name one.")
    check_taken((method,), "--retain", retain)


def _budgets(
    show: Kind, name: str, retain: tuple[float | AutoBudget, ...] | None, seed: int | None
) -> list[tuple[str, Method]]:
    """(budget as text, method with this budget): one, or as many as --show budget has."""
    if show != "budget":
        return [("", make_pruning(name, retain[0] if retain else None, seed))]
    if retain is None:
        _check_budget(name)
    return [(_text(each), make_pruning(name, each, seed)) for each in retain or BUDGETS]


def _check_budget(name: str) -> None:
    """Raise unless a method takes a budget."""
    try:
        check_taken((name,), "--retain", BUDGETS)
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"--show budget needs a method that takes --retain, and {name} does not; name another --method."
        ) from error


def _check_packages(output: Path) -> None:
    """Raise unless what draws and what writes is installed."""
    from todre.plots import require_matplotlib
    from todre.plots.animation_files import require_writer

    require_matplotlib()
    require_writer(output)


def _compute(
    show: Kind,
    loaded: Loaded,
    picture: Any,
    question: str,
    budgets: list[tuple[str, Method]],
    settings: Settings,
    most: int,
    quiet: bool,
) -> Animation:
    from todre.analysis.animations import falling_budget, order_of_choosing, passing_layers

    method = budgets[0][1]
    if show == "order":
        return order_of_choosing(loaded, picture, question, method, settings, most)
    if show == "layers":
        return passing_layers(loaded, picture, question, method, settings)
    with progress(len(budgets), quiet) as begin:
        return falling_budget(loaded, picture, question, budgets, settings, lambda text: begin(f"answering at {text}"))


def _text(budget: float | AutoBudget) -> str:
    """A budget as text: shares in percent, counts as they are."""
    return f"{100 * budget:g} %" if isinstance(budget, float) else str(budget)


def _answers(made: Animation) -> list[str]:
    """The lines for stdout: the answer, or that of each budget."""
    from todre.plots.animation_frames import BudgetFrame

    found = [f"{frame.budget}: {frame.answer}" for frame in made.frames if isinstance(frame, BudgetFrame)]
    return found or [made.answer]


def _document(
    made: Animation,
    show: Kind,
    image: str,
    output: Path,
    budgets: list[tuple[str, Method]],
    settings: Settings,
    loaded: Loaded,
) -> dict[str, Any]:
    """Everything that the frames show, ready for JSON."""
    return {
        "show": show,
        "file": image,
        "output": str(output),
        "question": made.question,
        "answer": made.answer or None,
        **{"model" if name == "id" else name: value for name, value in loaded.facts().items()},
        "method": budgets[0][1].to_dict(),
        "max_new_tokens": settings.max_new_tokens,
        "seed": settings.seed,
        "visual_tokens": len(made.boxes),
        "frames": [dataclasses.asdict(frame) for frame in made.frames],
    }
