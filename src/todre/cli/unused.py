"""Options that would change nothing: refused where nothing takes them, said in a line where something does not."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from todre.cli.console import note
from todre.methods import registry

FILE = ".json"


def check_taken(methods: Sequence[str], option: str, given: object, quiet: bool = False) -> None:
    """Raise if no method takes what `option` gives; say on stderr which ones do not, where others do.

    Args:
        methods: names, with settings or without (`todre:stages=1`), and files of methods, which are used as they are.
        option: `--retain` or `--per`, which set the fields of those names.
        given: what the user gave; None for nothing.
    """
    if given is None:
        return
    field = option.removeprefix("--")
    deaf = [each for each in methods if not _takes(each, field)]
    if len(deaf) == len(methods):
        of_a_file = any(each.endswith(FILE) for each in deaf)
        why = "is used as its file has it" if of_a_file else f"has no {field}"
        raise typer.BadParameter(f"{option} would change nothing, because {', '.join(deaf)} {why}; leave it out.")
    told = [each for each in deaf if each != "none"]
    if told:
        note(f"{option} changes nothing for {', '.join(told)}", quiet)


def check_alone(option: str, given: dict[str, object]) -> None:
    """Raise if an option that stands alone comes with others that it would make mean nothing.

    Args:
        option: the one that stands alone.
        given: the others by name; None and False for what was not given.
    """
    others = [name for name, value in given.items() if value is not None and value is not False]
    if others:
        raise typer.BadParameter(f"{option} leaves nothing for {others[0]} to do; give one of the two.")


def _takes(method: str, field: str) -> bool:
    if method.endswith(FILE):
        return False
    name, *settings = method.split(":")
    return field in registry.entry(name).settings and not any(each.startswith(f"{field}=") for each in settings)
