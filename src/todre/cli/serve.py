"""`todre serve`: an OpenAI-compatible server of a pruned model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import options as opt
from todre.cli.budget_options import BudgetPer, Retain
from todre.cli.console import show_text, working
from todre.cli.ignored_options import check_beside, check_taken
from todre.cli.method_names import make_pruning
from todre.cli.option_records import Without
from todre.cli.options import ModelOptions, Verbosity
from todre.cli.parsers import usage
from todre.cli.picture_guard import GuardName, guard_of
from todre.cli.serve_options import LimitOptions, PlaceOptions
from todre.cli.serve_vllm import EngineChoice, serve_with_vllm
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from todre.methods.base import Method
    from todre.serve.method_choice import MethodChoice

Served = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Folder, hub id, todre-tiny-video, smol. Without it, todre-tiny, which ships with todre.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Load the model, try the method on an empty picture, and end without serving.")
]


_OF_VLLM = ("max_retain", "per_request", "engine_options")
"""Parameters that have an effect with vLLM alone."""


def serve(
    context: typer.Context,
    model: Served = None,
    method: opt.MethodName = "todre",
    retain: Retain = None,
    per: BudgetPer = None,
    guard: GuardName = OFF,
    seed: opt.Seed = None,
    place: PlaceOptions = PlaceOptions(),
    limits: LimitOptions = LimitOptions(),
    check: Check = False,
    choice: EngineChoice = EngineChoice(),
    loading: Annotated[ModelOptions, Without("model")] = ModelOptions(),
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Serve a model that prunes, to clients of OpenAI's API.

    Its address goes to stdout once clients can connect. Ctrl-C ends it.
    """
    if retain is not None and method == "none":
        raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
    loading = dataclasses.replace(loading, model=model)
    if choice.engine == "vllm":
        serve_with_vllm(context, choice, loading, place, method, retain, limits.max_pictures, check, verbosity.quiet)
        return
    check_beside(context, "--engine transformers", [name for name in context.params if name not in _OF_VLLM])
    check_taken((method,), "--retain", retain)
    check_taken((method,), "--per", per)
    with usage():
        pruning = make_pruning(method, retain, seed, per)
    from todre.serve.method_choice import MethodChoice

    methods = MethodChoice(method=pruning, retain=retain, per=per, seed=seed or 0, guard=guard_of(guard, (pruning,)))
    _serve_with_transformers(loading, methods, method, place, limits, check, verbosity)


def _serve_with_transformers(
    loading: ModelOptions,
    methods: MethodChoice,
    method: str,
    place: PlaceOptions,
    limits: LimitOptions,
    check: bool,
    verbosity: Verbosity,
) -> None:
    """Serve by transformers' server, whose port is taken before the model is loaded."""
    from todre.serve.packages import require_packages

    require_packages()
    from todre.serve.application import make_application
    from todre.serve.launch import Place, make_server, try_method
    from todre.serve.transformers_server import check_server

    check_server()
    where = Place(host=place.host, port=place.port)
    with where.open() as opened:
        with working(verbosity.quiet):
            from todre.cli.toy_models import say_if_toy

            loaded = loading.load(verbosity.quiet)
            try_method(loaded, methods)
        say_if_toy(loaded, verbosity.quiet, "name a real model: todre serve MODEL")
        name = place.name or loaded.name
        what = f"{name} with {_described(method, methods.method)}"
        if check:
            show_text(f"{what} can be served")
            return
        place.warn_if_open(verbosity.quiet)
        application = make_application(
            loaded, methods, limits.limits(), name=name, host=place.host, api_key=place.api_key
        )
        show_text(f"{what} at {where.listen(opened)}")
        make_server(application, access_log=verbosity.verbose).run(sockets=[opened])


def _described(name: str, method: Method) -> str:
    """The method in a few words."""
    retain = getattr(method, "retain", None)
    return name if retain is None else f"{name} (retain {retain:g})"
