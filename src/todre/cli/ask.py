"""`todre ask`: one question about one or more pictures and clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import options as opt
from todre.cli.budget_options import BudgetPer, Retain
from todre.cli.console import check_figure, counting, note, show_json, show_text, working
from todre.cli.ignored_options import check_taken
from todre.cli.method_names import files_among, make_method
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import MOST, check_question, usage
from todre.cli.picture_guard import GuardName, guard_files, guard_of
from todre.files import printable
from todre.files.locations import STDIN, label_of, local_file, names_picture
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from todre.inputs import Reading
    from todre.running import Media

FRAMES = 8
"""Frames that are taken from a video if --frames is not set."""


Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE… QUESTION",
        help="Images and videos: files, folders, patterns, pages (a.pdf#page=2), URLs, - (stdin). Then the question.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option("--frames", min=1, max=MOST, help=f"Frames to take of each video. Without it, {FRAMES}."),
]
Moving = Annotated[
    bool, typer.Option("--video", help="Take an animated GIF, WebP or PNG as a video, not its first frame alone.")
]
Overlay = Annotated[
    Path | None,
    typer.Option("--overlay", help="Also draw the kept tokens over the picture or the frames, into this file."),
]


def ask(
    arguments: Arguments,
    model: ModelOptions = ModelOptions(),
    method: opt.MethodName = "todre",
    retain: Retain = None,
    per: BudgetPer = None,
    guard: GuardName = OFF,
    frames: Frames = None,
    video: Moving = False,
    allow_urls: opt.AllowUrls = False,
    overlay: Overlay = None,
    force: opt.Force = False,
    max_new_tokens: opt.NewTokens = 64,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Answer a question about pictures and videos while pruning visual tokens.

    The answer goes to stdout, and what pruning saved goes to stderr.
    """
    files, question = _split(arguments)
    if retain is not None and method == "none":
        raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
    check_taken((method,), "--retain", retain)
    check_taken((method,), "--per", per)
    with usage():
        pruning = make_method(method, retain, seed, per)
    watching = guard_of(guard, (pruning,))
    from todre.inputs import reading_for

    check_figure(overlay, (*map(local_file, files), model.model, *files_among(method), *guard_files(guard)), force)
    media = _open(files, frames, reading_for(allow_urls), video, reporting.quiet)
    with working(reporting.quiet):
        from todre.cli.overlay import boxes_of, write_media
        from todre.cli.toy_models import say_if_toy
        from todre.running import Settings, answer

        loaded = model.load(reporting.quiet)
        if overlay is not None:
            boxes_of(loaded, media)  # tokens whose places are not known are better refused before the answer
        answered = answer(loaded, media, question, pruning, Settings(max_new_tokens, seed or 0), watching or OFF)
        if overlay is not None:
            write_media(loaded, media, [(method, answered)], overlay)
    document = answered.to_dict() | {"files": [*map(label_of, files)]} | ({"overlay": str(overlay)} if overlay else {})
    if reporting.json:
        show_json(document)
        return
    show_text(answered.text)
    note(f"{answered.summary}, {answered.timings.total:.0f} ms", reporting.quiet)
    for sentence in answered.notes(opt.LONGER):
        note(sentence, reporting.quiet)
    say_if_toy(loaded, reporting.quiet)
    if overlay is not None:
        note(f"wrote {overlay}", reporting.quiet)


def _open(files: Sequence[str], frames: int | None, reading: Reading, animated: bool, quiet: bool) -> list[Media]:
    """Open pictures and clips; a file's content decides between the two.

    Args:
        files: names of single pictures and videos.
        frames: frames to take of a clip; None for the default.
        reading: what may be read.
        animated: whether animated pictures are clips.
        quiet: show no progress.
    """
    from todre.clips import Clip, is_clip
    from todre.inputs import open_medium

    clips = [(path := local_file(file)) is not None and is_clip(path) for file in files]
    if frames is not None and not animated and not any(clips):
        raise typer.BadParameter("--frames is for videos, and none is given; leave it out.")
    media: list[Media] = []
    for file, clip in zip(files, clips, strict=True):
        with counting(f"decoding {Path(label_of(file)).name}", quiet or not (clip or animated)) as report:
            media.append(open_medium(file, frames or FRAMES, reading, animated, report))
    moving = [isinstance(medium, Clip) for medium in media]
    if animated and moving == clips:
        raise typer.BadParameter("--video is for animated GIF, WebP and PNG files, and none is given; leave it out.")
    return media


def _split(arguments: list[str]) -> tuple[tuple[str, ...], str]:
    *files, question = arguments
    if not files:
        raise typer.BadParameter("an image or video and a question are needed; put the question last, in quotes.")
    if question.strip() and (question == STDIN or names_picture(question)):
        raise typer.BadParameter(f"{printable(repr(question))} is a file; put the question last, in quotes.")
    from todre.inputs import named_pictures

    return named_pictures(files), check_question(question)
