"""`todre demo`: compare the methods on a shipped scene and a shipped photograph."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from todre.cli import options as opt
from todre.cli.budget_options import Retain
from todre.cli.compare import METHODS, answer_all
from todre.cli.console import note, show, show_json, show_text, working
from todre.cli.options import ModelOptions, Reporting
from todre.files import atomic_path, check_targets, new_folder, write_atomic

if TYPE_CHECKING:
    from PIL import Image

SCENE_SEED = 3
PHOTOGRAPH = "coffee"
SETTINGS = {"max_new_tokens": 16, "warm_up": 1, "repeats": 3}


class Exhibit(NamedTuple):
    """A picture of the demo, the question about it, and the true answer."""

    picture: Image.Image
    question: str
    truth: str


def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for the pictures; made if it is not there.")] = Path(
        "demo-output"
    ),
    retain: Retain = None,
    force: opt.Force = False,
    reporting: Reporting = Reporting(),
) -> None:
    """Compare the methods on a shipped scene and a shipped photograph.

    Draws what each method kept over both pictures.

    Writes demo.png, the two pictures, and demo.json with everything measured.
    """
    from todre.plots import require_matplotlib

    require_matplotlib()
    figure, shown = output / "demo.png", exhibits()
    new_folder(output, parents=True)
    check_targets((figure, output / "demo.json", *(output / f"{name}.png" for name in shown)), force=force)
    with working(reporting.silent):
        from todre.cli.overlay import row_of_image, write_rows
        from todre.running import Settings

        note("loading the model that ships with todre", reporting.quiet)
        loaded = ModelOptions().load(reporting.quiet)
        rows, answers = [], {}
        for name, (picture, question, truth) in shown.items():
            answers[name] = answer_all(
                loaded, picture, question, METHODS.split(","), retain, Settings(**SETTINGS), reporting.quiet
            )
            rows.append(row_of_image(loaded, [picture], answers[name], 0, f"{question} (true: {truth})"))
        for name, exhibit in shown.items():
            with atomic_path(output / f"{name}.png") as temporary:
                exhibit.picture.save(temporary)
        write_rows(rows, figure)
    documents: dict[str, object] = {"figure": str(figure)}
    documents |= {name: [answer.to_dict() for _, answer in each] for name, each in answers.items()}
    write_atomic(output / "demo.json", dumps(documents, allow_nan=False) + "\n")
    if reporting.json:
        show_json(documents)
        return
    from todre.cli.tables import comparison_table

    for name, exhibit in shown.items():
        show_text(f"{name.capitalize()}: {exhibit.question} (the truth: {exhibit.truth})")
        show(comparison_table(answers[name]))
    show_text(f"Wrote {figure}: the kept tokens of each method over both pictures.")


def exhibits() -> dict[str, Exhibit]:
    """The exhibits of the demo, by file name of the picture."""
    from todre.scenes import make_scene, photograph

    return {
        "scene": Exhibit(make_scene(SCENE_SEED, "val").image, "Is there a blue triangle in the picture?", "yes"),
        "photograph": Exhibit(photograph(PHOTOGRAPH), "Is there a green square in the picture?", "no"),
    }
