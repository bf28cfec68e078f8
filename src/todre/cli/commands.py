"""Typer's commands and groups, changed in two ways.

An option that is typed twice is refused, and no word of the help is cut.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

ROOM = 100
"""Terminal width below which help has no boxes, as Typer's would cut words."""
_LEAST = 20


class _Fitting:
    """The two changes, as a base class that precedes Typer's own base class."""

    def make_parser(self, ctx: Any) -> Any:
        """The parser of arguments, which refuses an option that is typed twice."""
        return _once(super().make_parser(ctx), ctx)  # type: ignore[misc]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: in boxes where there is room, else as plain text."""
        width = _width()
        if width >= ROOM:
            super().format_help(ctx, formatter)  # type: ignore[misc]
        else:
            super(_Fitting, _plain(self, formatter, width)).format_help(ctx, formatter)  # type: ignore[misc]
            _encodable(formatter)


class Command(_Fitting, TyperCommand):
    """A Typer command with the two changes."""


class Group(_Fitting, TyperGroup):
    """A Typer group with the two changes; the whole application is one."""


def _once(parser: Any, ctx: Any) -> Any:
    """Make a parser refuse an option that is typed twice.

    Typer would take the last value, and drop the others without a word.
    """
    parse = parser.parse_args

    def parse_args(args: list[str]) -> Any:
        values, rest, order = parse(args)
        for parameter, times in Counter(order).items():
            if times > 1 and parameter.param_type_name == "option" and not parameter.multiple and not parameter.is_flag:
                raise typer.BadParameter(f"{parameter.opts[-1]} is given {times} times; give it once.", ctx=ctx)
        return values, rest, order

    parser.parse_args = parse_args
    return parser


def _width() -> int:
    return Console().width


def _plain(command: Any, formatter: Any, width: int) -> Any:
    """The command without style marks; also sets the formatter's width."""
    formatter.width = max(_LEAST, width - 1)
    plain = copy.copy(command)
    plain.rich_markup_mode = None
    plain.epilog = None
    lines = [line.strip() for line in (command.epilog or "").split("\n\n")][1:]
    plain.format_epilog = lambda ctx, formatter: _write_examples(formatter, lines)
    return plain


def _encodable(formatter: Any) -> None:
    """Replace characters of the help that the terminal cannot show.

    Typer takes an ASCII terminal for misconfigured, and sends it UTF-8.
    """
    encoding = sys.stdout.encoding or "utf-8"
    formatter.buffer = [formatter.getvalue().encode(encoding, "replace").decode(encoding)]


def _write_examples(formatter: Any, lines: list[str]) -> None:
    """Write each example on one line, however long, so that it can be pasted."""
    if lines:
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        for line in lines:
            formatter.write("  " + line.replace("\\[", "[") + "\n")
