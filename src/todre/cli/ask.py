"""`todre ask`: one question about one or more pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from todre.cli import options as opt
from todre.cli.console import check_output, note, show_json, show_text, working


def ask(
    arguments: Annotated[
        list[str], typer.Argument(metavar="IMAGE… QUESTION", help="One or more image files, then the question.")
    ],
    model: opt.Model = None,
    method: opt.MethodName = "todre",
    retain: opt.Retain = None,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", help="Also draw the kept tokens over the picture, into this file.")
    ] = None,
    max_new_tokens: opt.NewTokens = 64,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Answer a question about pictures while pruning visual tokens.

    The answer goes to stdout, what it saved to stderr.
    """
    files, question = _split(arguments)
    if retain is not None and method == "none":
        raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
    if overlay is not None:
        from todre.plots import FORMATS, require_matplotlib

        require_matplotlib()
        check_output(overlay, FORMATS)
    from todre.images import open_image

    images = [open_image(file) for file in files]
    with working(quiet):
        from todre.cli.drawing import row_of_image, write_rows
        from todre.running import Settings, answer

        loaded = opt.load_model(model, device, dtype, attn_implementation, trust_remote_code, quiet)
        given = answer(loaded, images, question, opt.make_method(method, retain, seed), Settings(max_new_tokens, seed))
        if overlay is not None:
            write_rows(
                [row_of_image(loaded, images, [(method, given)], index) for index in range(len(images))], overlay
            )
    document = given.to_dict() | {"files": files} | ({"overlay": str(overlay)} if overlay else {})
    if json:
        show_json(document)
        return
    show_text(given.text)
    note(f"{given.report}, {given.timings.total:.0f} ms", quiet)
    if overlay is not None:
        note(f"wrote {overlay}", quiet)


def _split(arguments: list[str]) -> tuple[list[str], str]:
    *files, question = arguments
    if not files:
        raise typer.BadParameter("an image and a question are needed; put the question last, in quotes.")
    if question.strip() and _is_file(question):
        raise typer.BadParameter(f"{question!r} is a file; put the question last, in quotes.")
    return files, opt.check_question(question)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False
