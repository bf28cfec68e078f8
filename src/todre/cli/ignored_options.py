"""Checks that refuse, or note on stderr, options that would change nothing.

An option that no method takes is refused; one that only some take is noted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import typer

from todre.cli.console import note
from todre.methods import registry

FILE = ".json"


def check_taken(methods: Sequence[str], option: str, value: object, quiet: bool = False) -> None:
    """Raise if no method takes `option`.

    Where some methods take it, the others are named on stderr.

    Args:
        methods: names, with settings (`todre:stages=1`) or without, and files of methods, whose settings never change.
        option: `--retain` or `--per`, which set the fields `retain` and `per`.
        value: the option's value; None if the user did not set the option.
    """
    if value is None:
        return
    field = option.removeprefix("--")
    deaf = [each for each in methods if not _takes(each, field)]
    if len(deaf) == len(methods):
        of_a_file = any(each.endswith(FILE) for each in deaf)
        why = "is used as its file has it" if of_a_file else f"has no {field}"
        raise typer.BadParameter(f"{option} would change nothing, because {', '.join(deaf)} {why}; leave it out.")
    without = [each for each in deaf if each != "none"]
    if without:
        note(f"{option} changes nothing for {', '.join(without)}", quiet)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the user set the parameter of that name on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_beside(context: typer.Context, what: str, useful: Collection[str]) -> None:
    """Raise if the user set an option that another one makes useless.

    Args:
        context: Typer's context of the command.
        what: the other option, as the message calls it: "--from", "a list of recipes".
        useful: names of the command's parameters that still have an effect.
    """
    for parameter in context.command.params:
        if parameter.name in useful or not is_given(context, parameter.name or ""):
            continue
        raise typer.BadParameter(f"{what} leaves nothing for {parameter.opts[-1]} to do; leave that out.")


def _takes(method: str, field: str) -> bool:
    if method.endswith(FILE):
        return False
    name, *settings = method.split(":")
    return field in registry.entry(name).settings and not any(each.startswith(f"{field}=") for each in settings)
