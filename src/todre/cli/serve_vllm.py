"""`todre serve --engine vllm`: hand over to vLLM's server."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from todre.cli.console import note, show_text
from todre.cli.ignored_options import check_beside
from todre.cli.option_records import OptionRecord
from todre.cli.options import ModelOptions
from todre.cli.parsers import one_of
from todre.cli.serve_options import PlaceOptions
from todre.cli.vllm_args import MaxRetain, PerRequest, server_settings
from todre.methods.auto_budget import AutoBudget

USEFUL = frozenset(
    {
        *("model", "method", "retain", "engine", "engine_options", "max_retain", "per_request", "host", "port", "name"),
        *("api_key", "max_pictures", "check", "dtype", "trust_remote_code", "quiet"),
    }
)
"""Parameters of `todre serve` that have an effect with vLLM."""
KEY = "VLLM_API_KEY"
"""Environment variable of vLLM's key; a command line would show it to other users."""
RUNNER = "VLLM_USE_V2_MODEL_RUNNER"
"""Environment variable that says which of its two runners vLLM takes."""
SET_HERE = ("--hf-overrides", "--limit-mm-per-prompt", "--model")
"""Options of vLLM that are set here, of which it would keep the last alone."""
NO_DOMAIN = "nowhere.invalid"
"""The only domain whose pictures are fetched for clients: no host has this name."""


def parse_options(text: str) -> list[str]:
    """Parse options of vLLM's own, written as in a shell."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} cannot be split into options ({error}); close its quotes.") from None


EngineOptions = Annotated[
    Any,
    typer.Option(
        "--engine-options",
        parser=parse_options,
        metavar="TEXT",
        help="With --engine vllm: further options of vLLM's own, such as '--max-model-len 4096'.",
        show_default=False,
    ),
]

Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        parser=one_of("transformers", "vllm"),
        metavar="NAME",
        help="transformers: both stages, one answer at a time; vllm: stage 1 alone, many at once.",
    ),
]


@dataclass(frozen=True)
class EngineChoice(OptionRecord):
    """Options that say which engine serves, and those of vLLM alone."""

    engine: Engine = "transformers"
    max_retain: MaxRetain = None
    per_request: PerRequest = False
    engine_options: EngineOptions = None


def serve_with_vllm(
    context: typer.Context,
    choice: EngineChoice,
    loading: ModelOptions,
    place: PlaceOptions,
    method: str,
    retain: float | AutoBudget | None,
    max_pictures: int,
    check: bool,
    quiet: bool,
) -> None:
    """Replace this process by vLLM's server, or print its command line alone.

    Args:
        context: of the command, which says what was typed.
        choice: what is vLLM's alone.
        loading, place: the model, and where to listen.
        method, retain: what prunes.
        max_pictures: most pictures of a request.
        check: print the command line.
        quiet: say nothing on stderr.
    """
    check_beside(context, "--engine vllm", USEFUL)
    options: list[str] = choice.engine_options or []
    _check_engine_options(options)
    from todre.vllm.launch import arguments, command

    settings = server_settings(method, retain, choice.max_retain)
    given = arguments(loading.model, settings, per_request=choice.per_request)
    given += ["--host", place.host, "--port", str(place.port)]
    given += ["--served-model-name", place.name or loading.model or "todre-tiny"]
    given += ["--limit-mm-per-prompt", f'{{"image": {max_pictures}}}', "--allowed-media-domains", NO_DOMAIN]
    given += [] if loading.dtype == "auto" else ["--dtype", loading.dtype]
    given += ["--trust-remote-code"] if loading.trust_remote_code else []
    whole = command([*given, *options])
    if check:
        show_text(shlex.join(whole))
        return
    place.warn_if_open(quiet, KEY in os.environ or any(each.startswith("--api-key") for each in options))
    note("stage 1 alone, at compact positions where rows and columns have none; vLLM takes over", quiet)
    plugins = os.environ.get("VLLM_PLUGINS")
    if plugins is not None and "todre" not in plugins.split(","):
        raise typer.BadParameter(f"VLLM_PLUGINS={plugins!r} does not name todre; add it, or unset the variable.")
    # The second runner was never seen with todre's models (vLLM takes it by default where there is a GPU).
    environment = {RUNNER: "0"} | os.environ | ({} if place.api_key is None else {KEY: place.api_key})
    os.execve(whole[0], whole, environment)


def _check_engine_options(options: list[str]) -> None:
    """Raise if an option would replace one that is set here; vLLM keeps the last."""
    for option in options:
        name = option.replace("_", "-").split("=")[0].split(".")[0]
        if option.startswith("--") and name in SET_HERE:
            raise typer.BadParameter(
                f"{option} among --engine-options would replace what `todre serve` sets by {name}; start vLLM yourself "
                "with what `todre vllm-args` prints, and merge the two."
            )
