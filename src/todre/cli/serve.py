"""`todre serve`: an OpenAI-compatible server of a pruned model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import options as opt
from todre.cli.budget_options import BudgetPer, Retain
from todre.cli.console import note, show_text, working
from todre.cli.ignored_options import check_taken
from todre.cli.method_names import make_method
from todre.cli.option_records import Without
from todre.cli.options import ModelOptions, Verbosity
from todre.cli.parsers import usage
from todre.cli.serve_options import LimitOptions, PlaceOptions

if TYPE_CHECKING:
    from todre.methods.base import Method

Served = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help="Folder, hub id, or todre-tiny-video. Without it, todre-tiny, which ships with todre."
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Load the model, try the method on an empty picture, and end without serving.")
]


def serve(
    model: Served = None,
    method: opt.MethodName = "todre",
    retain: Retain = None,
    per: BudgetPer = None,
    seed: opt.Seed = 0,
    place: PlaceOptions = PlaceOptions(),
    limits: LimitOptions = LimitOptions(),
    check: Check = False,
    loading: Annotated[ModelOptions, Without("model")] = ModelOptions(),
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Serve a model that prunes, to clients of OpenAI's API.

    Its address goes to stdout once clients can connect. Ctrl-C ends it.
    """
    if retain is not None and method == "none":
        raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
    check_taken((method,), "--retain", retain)
    check_taken((method,), "--per", per)
    with usage():
        pruning = make_method(method, retain, seed, per)
    from todre.serve.packages import require_packages

    require_packages()
    from todre.serve.application import make_application
    from todre.serve.launch import Place, address_of, make_server, try_method
    from todre.serve.method_choice import MethodChoice

    where = Place(host=place.host, port=place.port)
    with where.open() as opened:
        with working(verbosity.quiet):
            from todre.cli.toy_models import say_if_toy

            loaded = dataclasses.replace(loading, model=model).load(verbosity.quiet)
            methods = MethodChoice(method=pruning, retain=retain, seed=seed)
            try_method(loaded, methods)
        say_if_toy(loaded, verbosity.quiet, "name a real model: todre serve MODEL")
        served = place.name or loaded.name
        what = f"{served} with {_described(method, pruning)}"
        if check:
            show_text(f"{what} can be served")
            return
        _warn_if_open(place, verbosity.quiet)
        application = make_application(
            loaded, methods, limits.limits(), name=served, host=place.host, api_key=place.api_key
        )
        show_text(f"{what} at {address_of(where, opened)}")
        make_server(application, access_log=verbosity.verbose).run(sockets=[opened])


def _described(name: str, method: Method) -> str:
    """The method in a few words."""
    retain = getattr(method, "retain", None)
    return name if retain is None else f"{name} (retain {retain:g})"


def _warn_if_open(place: PlaceOptions, quiet: bool) -> None:
    """Say that anybody who reaches the machine can ask, where that is so."""
    from todre.serve.gate import is_loopback

    if place.api_key is None and not is_loopback(place.host):
        note(
            f"anybody who can reach {place.host} can use this server; set --api-key, or listen at 127.0.0.1.",
            quiet,
        )
