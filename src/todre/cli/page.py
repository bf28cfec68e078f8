"""`todre page`: a local web page that compares methods on a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from todre.cli.console import note, show_text, working
from todre.cli.option_records import OptionRecord
from todre.cli.options import ModelOptions, Verbosity
from todre.cli.serve_options import Host, Port


@dataclass(frozen=True)
class PageOptions(OptionRecord):
    """Options that say where the page is."""

    host: Host = "127.0.0.1"
    port: Port = 7860


Check = Annotated[bool, typer.Option("--check", help="Load the model, let it answer once, and end without a page.")]


def page(
    model: ModelOptions = ModelOptions(),
    place: PageOptions = PageOptions(),
    check: Check = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Compare methods on a page in the browser: answers, kept tokens, costs.

    Its address goes to stdout once it can be opened. Ctrl-C ends it. Nothing on it comes from another machine.
    """
    from todre.page.packages import require_packages

    require_packages()
    from todre.page.copies import Running
    from todre.page.launch import PageServer, make_page, warm_up
    from todre.page.notices import Notices
    from todre.serve.gate import is_loopback
    from todre.serve.launch import Place
    from todre.shipped import named, names

    where = Place(host=place.host, port=place.port)
    with where.open() as opened:
        with working(verbosity.quiet):
            loaded = model.load(verbosity.quiet)
            warm_up(loaded)
        if check:
            show_text(f"a page of {loaded.name} can be shown")
            return
        with working(verbosity.quiet):
            running = Running(
                model=loaded.name,
                device=model.device,
                dtype=model.dtype,
                attn_implementation=model.attn_implementation,
                trust_remote_code=model.trust_remote_code,
            )
            notices = Notices()
            caution = f"{loaded.name}{named(loaded.name).caution}." if loaded.name in names() else ""
            made = make_page(loaded, running, notices, caution)
        if not is_loopback(place.host):
            note(f"anybody who can reach {place.host} can use this page; listen at 127.0.0.1.", verbosity.quiet)
        show_text(f"todre page of {loaded.name} at {where.listen(opened, '/')}")
        with notices.heard():
            PageServer(made, place.host, verbosity.verbose).run(sockets=[opened])
