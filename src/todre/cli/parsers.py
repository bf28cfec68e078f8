"""Parsers that turn the text of options into values, or report wrong usage."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from todre.errors import InvalidValueError, UnknownMethodError

MOST = 10**9
"""Largest count that any option takes."""
MOST_SEED = 2**32 - 1
LEAST_SIDE, MOST_SIDE = 64, 1024
"""Bounds of the side of a scene's picture, in pixels."""
MOST_PROCESSES = 256


@contextmanager
def usage() -> Iterator[None]:
    """Turn refused values inside the block into wrong usage (exit code 2).

    Use it for values that are wrong whatever the files, the model and the machine are.
    """
    try:
        yield
    except (InvalidValueError, UnknownMethodError) as error:
        raise typer.BadParameter(str(error)) from error


def one_of(*allowed: str) -> Callable[[str], Any]:
    """A parser that accepts one of the `allowed` words."""

    def parse(text: str) -> str:
        if text not in allowed:
            close = difflib.get_close_matches(text, allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}{hint}")
        return text

    return parse


def number(least: float, most: float = math.inf, inside: bool = False) -> Callable[[str], float]:
    """A parser of a finite number between two bounds.

    Args:
        least: the lower bound.
        most: the upper bound.
        inside: whether the bounds themselves are excluded.
    """

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        fits = least < value < most if inside else least <= value <= most
        if not math.isfinite(value) or not fits:
            upper = "" if most == math.inf else f" and below {most:g}" if inside else f" and at most {most:g}"
            raise typer.BadParameter(
                f"{text!r} is not a number {'above' if inside else 'of at least'} {least:g}{upper}."
            )
        return value

    return parse


def parse_device(text: str) -> str:
    """Parse the name of a device: auto, cpu, cuda or cuda:N.

    Whether the device is there is checked when a model is loaded.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise typer.BadParameter(f"device {text!r} is unknown; use auto, cpu, cuda or cuda:N.")
    return text


def check_each_once(values: Sequence[Any], text: str) -> None:
    """Raise if a value stands twice in a list that was typed as `text`."""
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise typer.BadParameter(f"{text!r} names {twice} twice; name each once.")


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("nothing is named; give names separated by commas.")
    return names


def check_question(question: str) -> str:
    """The question, unless it is empty.

    Raises:
        typer.BadParameter: the question is empty.
    """
    if not question.strip():
        raise typer.BadParameter("the question is empty; ask something about the picture.")
    return question
