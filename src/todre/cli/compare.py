"""`todre compare`: the same question under several methods, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from todre.cli import options as opt
from todre.cli.budget_options import Retain
from todre.cli.console import check_figure, note, progress, show, show_json, show_text, working
from todre.cli.ignored_options import check_taken
from todre.cli.method_names import files_among, make_method, named_methods
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import MOST, check_question, usage
from todre.cli.picture_guard import GuardName, guard_files, guard_of
from todre.errors import TodreError
from todre.files.locations import label_of, local_file
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from todre.loading.model import Loaded
    from todre.methods.auto_budget import AutoBudget
    from todre.methods.guard import Guard
    from todre.running import Answer, Settings

METHODS = "none,todre,todre-v1,random"


Picture = Annotated[str, typer.Argument(help="An image: a file, a page (a.pdf#page=2), a URL, or - (stdin).")]
Question = Annotated[str, typer.Argument(help="The question, in quotes.")]
Output = Annotated[Path | None, typer.Option("--output", help="Also draw one panel for each method, into this file.")]
WarmUp = Annotated[int, typer.Option("--warm-up", min=0, max=MOST, help="Runs of each method before it is timed.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, max=MOST, help="Timed runs; the median is shown.")]


def compare(
    image: Picture,
    question: Question,
    methods: opt.MethodNames = METHODS,
    model: ModelOptions = ModelOptions(),
    retain: Retain = None,
    guard: GuardName = OFF,
    output: Output = None,
    allow_urls: opt.AllowUrls = False,
    force: opt.Force = False,
    warm_up: WarmUp = 1,
    repeats: Repeats = 3,
    max_new_tokens: opt.NewTokens = 64,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Answer one question under several methods: tokens, FLOPs, memory and times."""
    check_question(question)
    names, everything = named_methods(methods)
    watching = guard_of(guard)
    if not everything:
        with usage():
            made = [make_method(name, retain, seed) for name in names]
        guard_of(guard, made)
    check_taken(names, "--retain", retain, reporting.quiet)
    from todre.inputs import one_picture, open_picture, reading_for

    image = one_picture(image)
    check_figure(output, (local_file(image), model.model, *files_among(methods), *guard_files(guard)), force)
    picture = open_picture(image, reading_for(allow_urls))
    with working(reporting.quiet):
        from todre.cli.overlay import row_of_image, write_rows
        from todre.cli.toy_models import say_if_toy
        from todre.running import Settings

        loaded = model.load(reporting.quiet)
        settings = Settings(max_new_tokens, seed or 0, warm_up, repeats)
        left_out: dict[str, str] = {}
        answers = answer_all(
            loaded,
            picture,
            question,
            names,
            retain,
            settings,
            reporting.quiet,
            left_out,
            everything,
            watching or OFF,
            seed,
        )
        if output is not None:
            write_rows([row_of_image(loaded, [picture], answers, 0, question)], output)
    if reporting.json:
        drawn = {"output": str(output)} if output else {}
        reasons = {"left_out": left_out} if everything or left_out else {}
        documents = [each.to_dict() for _, each in answers]
        show_json({"question": question, "file": label_of(image), **drawn, **reasons, "answers": documents})
        return
    show_text(question)
    _show_answers(answers, left_out)
    for name, each in answers:
        for sentence in (*each.shown.sentences, *each.notes(opt.LONGER)):
            note(f"{name}: {sentence}", reporting.quiet)
    say_if_toy(loaded, reporting.quiet)
    if output is not None:
        note(f"wrote {output}", reporting.quiet)


def _show_answers(answers: Sequence[tuple[str, Answer]], left_out: Mapping[str, str]) -> None:
    """Show a table of (method's name, answer), and why methods were left out."""
    from todre.cli.tables import comparison_table

    show(comparison_table(answers))
    for name, reason in left_out.items():
        show_text(f"{name} does not apply here: {reason}")


def answer_all(
    loaded: Loaded,
    picture: Image.Image,
    question: str,
    names: Sequence[str],
    retain: float | AutoBudget | None,
    settings: Settings,
    quiet: bool,
    left_out: dict[str, str] | None = None,
    forgiving: bool = False,
    guard: Guard | Literal["off"] = "off",
    seed: int | None = None,
) -> list[tuple[str, Answer]]:
    """Answer under each method, with a progress bar; (name, answer) in order.

    A method that does not apply is an error; with `forgiving`, and for methods that resize pictures, it is noted in
    `left_out` with the reason.
    """
    from todre.running import answer

    answers = []
    with progress(len(names), quiet) as begin:
        for name in names:
            begin(f"answering with {name}")
            pixels = False
            try:
                method = make_method(name, retain, seed)
                pixels = method.in_pixels
                answers.append((name, answer(loaded, [picture], question, method, settings, guard)))
            except TodreError as error:
                if left_out is None or not (forgiving or pixels):
                    raise
                left_out[name] = str(error)
    return answers
