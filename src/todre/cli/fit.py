"""`todre fit`: fit a method's numbers to one model, and save the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import analyze_options as ask
from todre.cli import options as opt
from todre.cli.analyze_options import QuestionOptions
from todre.cli.console import check_output, counting, note, show_json, show_text, working
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import number

if TYPE_CHECKING:
    from todre.analysis.questions import PictureQuestion
    from todre.loading.model import Loaded
    from todre.methods.base import Method

BY_SHARE = ("fitprune", "p-sigmoid", "vflowopt")
BY_TOLERANCE = ("g-search", "vtw")
SHARE, TOLERANCE = 0.25, 0.003


def parse_fitted(name: str) -> str:
    """Parse the name of a method that can be fitted to a model."""
    if name not in BY_SHARE + BY_TOLERANCE:
        raise typer.BadParameter(
            f"{name!r} is not fitted to a model; those that are: {', '.join(sorted(BY_SHARE + BY_TOLERANCE))}."
        )
    return name


def parse_share(text: str) -> float:
    """Parse a fraction in (0, 1]."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise typer.BadParameter(f"{text!r} is no fraction in (0, 1], such as 0.25.")
    return share


Fitted = Annotated[
    str, typer.Argument(parser=parse_fitted, metavar="METHOD", help="fitprune, g-search, p-sigmoid, vflowopt or vtw.")
]
Output = Annotated[Path, typer.Option("--output", help="The method's JSON file, for --method.")]
Share = Annotated[
    float | None,
    typer.Option(
        "--share",
        parser=parse_share,
        metavar="FRACTION",
        help=f"Visual tokens kept, the mean over all layers (fitprune, p-sigmoid, vflowopt). Without it, {SHARE:g}.",
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        parser=number(0.0),
        metavar="NUMBER",
        help=f"How far the next token may diverge, in nats (g-search, vtw). Without it, {TOLERANCE:g}.",
    ),
]


def fit(
    context: typer.Context,
    method: Fitted,
    output: Output,
    force: opt.Force = False,
    share: Share = None,
    tolerance: Tolerance = None,
    model: ModelOptions = ModelOptions(),
    questions: QuestionOptions = QuestionOptions(limit=20, split="val"),
    batch_size: ask.Batch = 4,
    reporting: Reporting = Reporting(),
) -> None:
    """Fit a method's numbers to a model on a few questions, without training.

    The fitted method is saved as a file for --method.
    """
    from todre.methods import registry

    if tolerance is not None and method in BY_SHARE:
        raise typer.BadParameter(f"{method} is fitted to a --share, and not by --tolerance; leave it out.")
    if share is not None and method in BY_TOLERANCE:
        raise typer.BadParameter(f"{method} is fitted by --tolerance, and not to a --share; leave it out.")
    allowed = TOLERANCE if tolerance is None else tolerance
    questions.check(context)
    source = questions.source()
    check_output(output, (".json",), (model.model, *source.files()), force)
    with working(reporting.silent):
        chosen = source.questions()
        loaded = model.load(reporting.quiet)
        with counting(f"fitting {method}", reporting.quiet) as tick:
            fitted = fit_method(method, loaded, chosen, batch_size, share or SHARE, allowed, tick)
        registry.save(fitted, output)
    if reporting.json:
        show_json(fitted.to_dict())
        return
    show_text(fitted.describe())
    note(f"wrote {output}; use it with --method {output}", reporting.quiet)


def fit_method(
    name: str,
    loaded: Loaded,
    questions: Sequence[PictureQuestion],
    batch_size: int,
    share: float,
    tolerance: float,
    tick: Callable[[int, int], None],
) -> Method:
    """Fit the method called `name` on the questions, in batches; returns the method."""
    from todre import calibrate
    from todre.analysis.prompts import prompts_of

    batches = [
        dict(prompts_of(loaded, questions[start : start + batch_size]).inputs)
        for start in range(0, len(questions), batch_size)
    ]
    model = loaded.model
    if name == "vtw":
        return calibrate.fit_vtw(model, batches, tolerance, first=1, progress=tick)
    if name == "g-search":
        return calibrate.fit_gsearch(model, batches, tolerance, progress=tick)
    by_share: dict[str, Callable[..., Method]] = {
        "fitprune": calibrate.fit_fitprune,
        "p-sigmoid": calibrate.fit_psigmoid,
        "vflowopt": calibrate.fit_vflowopt,
    }
    return by_share[name](model, batches, share, progress=tick)
