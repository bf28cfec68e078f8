"""Budget options: every `--retain` and `--per`, and their parsers."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from todre.cli.parsers import (
    MOST,
    check_each_once,
    one_of,
    parse_names,
    usage,
)
from todre.errors import InvalidValueError
from todre.fields import fitted
from todre.fields.kinds import Retain as RetainField
from todre.fields.texts import number_of
from todre.methods.auto_budget import AUTO, AutoBudget
from todre.methods.base import Per


def parse_retain(text: str) -> float:
    """Parse a budget: a whole number counts tokens, others are shares in (0, 1]."""
    value = number_of(text)
    if value is None and text.partition("-")[0] == AUTO:
        raise typer.BadParameter(
            f"{text!r} is a budget that depends on the picture, and this needs a number; give a fraction in (0, 1] "
            "such as 0.1, or a count such as 288."
        )
    if value is None:
        raise typer.BadParameter(
            f"{text!r} is not a number; give a fraction in (0, 1] such as 0.1, or a count such as 288."
        )
    if value > MOST:
        raise typer.BadParameter(f"{text!r} is more than any picture has; give a count of at most {MOST:,}.")
    try:
        found: float = fitted("retain", value, RetainField)
    except InvalidValueError as error:
        raise typer.BadParameter(str(error)) from error
    return found


def parse_auto_retain(text: str) -> float | AutoBudget:
    """Parse a budget, which may be automatic: auto, auto-RULE or auto-RULE-THRESHOLD."""
    with usage():
        found = AutoBudget.of_plain(text)
    return parse_retain(text) if found is None else found


def parse_retains(text: str) -> tuple[float, ...]:
    """Parse budgets, separated by commas, none twice."""
    retains = tuple(parse_retain(part) for part in parse_names(text))
    check_each_once(retains, text)
    return retains


def parse_auto_retains(text: str) -> tuple[float | AutoBudget, ...]:
    """Parse budgets, which may be automatic, separated by commas, none twice."""
    retains = tuple(parse_auto_retain(part) for part in parse_names(text))
    check_each_once(retains, text)
    return retains


Retain = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_auto_retain,
        metavar="BUDGET",
        help="Visual tokens to keep: 0.1 is a share, 288 a count, auto what each picture needs. Without it, the "
        "method's own.",
        show_default=False,
    ),
]


NumberRetain = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_retain,
        metavar="NUMBER",
        help="Visual tokens to keep: 0.1 is a share, 288 a count. Without it, the method's own.",
        show_default=False,
    ),
]


BudgetPer = Annotated[
    str | None,
    typer.Option(
        "--per",
        parser=one_of(*get_args(Per)),
        metavar="PART",
        help="What --retain is for: sample (all media together, the default), each image, clip or frame.",
    ),
]


EvalRetains = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_auto_retains,
        metavar="A,B,…",
        help="Budgets: shares such as 0.1, counts such as 288, or auto.",
    ),
]


AnimateRetains = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_auto_retains,
        metavar="A,B,…",
        help="Visual tokens to keep: 0.1 is a share, 288 a count, auto what the picture needs; --show budget takes "
        "several, in the order of the frames. Without it, the method's own; for --show budget, 21 shares from 1.0 down "
        "to 0.02.",
        show_default=False,
    ),
]


BenchRetains = Annotated[
    Any,
    typer.Option(
        "--retain", parser=parse_retains, metavar="A,B,…", help="Budgets to measure each method at: shares or counts."
    ),
]


AtBudget = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_retain,
        metavar="NUMBER",
        help="A budget of the run. Without it, the one nearest to 10 %.",
        show_default=False,
    ),
]


FlopsRetain = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_retain,
        metavar="NUMBER",
        help="Visual tokens to keep: 0.1 is a share, 288 a count. Without it, 0.1.",
        show_default=False,
    ),
]
