"""The reference of the command line (docs/cli.md), made from the commands.

Write it with `python -m todre.cli.reference`.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer

from todre.cli.app import app

HEADER = """# The command line

<!-- Made by `python -m todre.cli.reference > docs/cli.md`; a test compares the two. -->

`todre` or `python -m todre`. `-h` and `--help` explain every command, `todre --version` says which todre it is, and
`todre --install-completion` teaches the shell to complete (`--show-completion` prints what it would install).

Results go to stdout, progress and warnings to stderr; with `--json`, stdout holds exactly one JSON document.

| Exit code | |
|---|---|
| 0 | Done. |
| 1 | Failed: one line says what and what to do; a traceback comes with `-v` alone. |
| 2 | Wrong usage: no file, model or machine would make what was typed work. |
| 130 | Interrupted: Ctrl-C is answered with one line, from the start on. |

- If the reader of stdout closes it, as `head -1` does, a command ends with 1 and prints nothing more.
- A second Ctrl-C, more than a second after the first, ends the process without waiting for clean-up.
- An option that is given twice is refused, and so is a `--retain` that no method of the command takes. `--retain 1` is
  a count and keeps one token; a line on stderr says so.
- `todre animate`, `ask`, `batch` and `compare` say on stderr when answers come from a model that ships with todre.
  These models are toys: they know synthetic scenes, and the words of one are about a hundred.
- Characters that stdout's encoding lacks are replaced; JSON is always UTF-8. If stdout is closed, commands that need it
  say so before they begin.
- Tables are as wide as the terminal, or as the variable COLUMNS says; elsewhere as wide as they need to be. If a word
  does not fit, each row becomes a block of lines. Nothing is cut.
- What libraries print is hidden, unless `-v` is given or their own variables (`TRANSFORMERS_VERBOSITY`) are set.

**Files that are read** are regular files: UTF-8, with or without a byte-order mark. JSON has at most 8 MiB (a line of
JSON lines as well; one of questions 1 MiB, one of `todre batch` 256 MiB), 300,000 values and 64 levels, and names
nothing twice; a method's file has at most 1 MiB, a file of lines a million lines. A picture has at most 64 million
pixels, a frame of a video 36 million.

**Files that are written** appear whole or not at all. What can be known is checked before any work: no command writes
onto a file that it reads, however that is spelled (`..`, a link), nor over what is there already, unless `--force` says
so. Unfinished work is resumed: `todre bench` with `--resume`, and `todre eval` (a finished run, too, with further
methods), `todre batch`, `todre reproduce` and `todre analyze` by the same command. `todre batch` appends to its output
line by line, so that this alone is never whole before the end.
"""


def reference() -> str:
    """The whole reference as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEADER, *_sections(group, "")])


def _sections(group: Any, before: str) -> list[str]:
    """The sections of a group's commands.

    A group inside the group has a section of its own, before its commands.
    """
    sections: list[str] = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            sections.append(f"## todre {before}{name}\n\n{inspect.cleandoc(command.help or '')}\n")
            sections += _sections(command, f"{before}{name} ")
        else:
            sections.append(_section(before + name, command))
    return sections


def _section(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join(["todre", name, *(_placeholder(argument) for argument in arguments), "[OPTIONS]"])
    lines = [f"## todre {name}", "", inspect.cleandoc(command.help or ""), "", f"    {usage}", ""]
    if arguments or options:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{_placeholder(argument)}` | {_help(argument)} |" for argument in arguments]
        lines += [f"| {', '.join(f'`{flag}`' for flag in option.opts)} | {_help(option)} |" for option in options]
        lines.append("")
    return "\n".join([*lines, "```", *_examples(command.epilog or ""), "```", ""])


def _placeholder(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _help(parameter: Any) -> str:
    text = str(parameter.help or "").replace("|", "\\|")
    plain = parameter.default is None or parameter.default is False
    shown = parameter.param_type_name == "option" and not plain
    return f"{text} Default: `{parameter.default}`." if shown else text


def _examples(epilog: str) -> list[str]:
    lines = [line.strip() for line in epilog.split("\n\n")]
    return [re.sub(r"\\\[", "[", line) for line in lines[1:]]


if __name__ == "__main__":
    typer.echo(reference(), nl=False)
