"""`todre vllm-args`: the options of vLLM's server that prune a model's pictures."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.budget_options import NumberRetain, parse_retain
from todre.cli.console import show_json, show_text, working
from todre.cli.method_names import FILE

if TYPE_CHECKING:
    from todre.methods.auto_budget import AutoBudget
    from todre.vllm.settings import ServerSettings

ServedModel = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="Folder, hub id or smol. Without it, todre-tiny, which ships with todre."),
]
MaxRetain = Annotated[
    Any,
    typer.Option(
        "--max-retain",
        parser=parse_retain,
        metavar="NUMBER",
        help="Largest budget that a request may ask for. Without it, 1.0: all.",
        show_default=False,
    ),
]
PerRequest = Annotated[
    bool,
    typer.Option(
        "--per-request",
        help="Let requests set todre_retain. vLLM then lets them set all arguments of the model's processor.",
    ),
]


def vllm_args(
    model: ServedModel = None,
    method: opt.MethodName = "todre",
    retain: NumberRetain = None,
    max_retain: MaxRetain = None,
    per_request: PerRequest = False,
    json: opt.Json = False,
) -> None:
    """Print the arguments of `vllm serve` that prune a model's pictures.

    Stage 1 alone: vLLM lets no token drop out inside the LLM.
    """
    from todre.vllm.launch import arguments

    with working(quiet=True):
        found = arguments(model, server_settings(method, retain, max_retain), per_request=per_request)
    if json:
        show_json(found)
    else:
        show_text(shlex.join(found))


def server_settings(method: str, retain: float | AutoBudget | None, max_retain: float | None) -> ServerSettings:
    """The settings of a server, from the options of a command.

    A file's method brings all its settings; those that vLLM settles are left out.
    """
    from todre.methods import registry
    from todre.vllm.served_methods import check_served, name_and_options, number_of_tokens
    from todre.vllm.settings import ServerSettings

    asked = number_of_tokens(retain)
    given: dict[str, Any] = {} if max_retain is None else {"max_retain": max_retain}
    if method.endswith(FILE):
        name, own, options = name_and_options(registry.load(method))
        given["options"] = options
    else:
        check_served(method)
        name, own = method, name_and_options(registry.create(method))[1]
    return ServerSettings(method=name, retain=own if asked is None else asked, **given)
