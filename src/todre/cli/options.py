"""Options that commands share, and how their text becomes values."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from todre.errors import InvalidValueError, UnknownMethodError
from todre.fields import fitted
from todre.fields.kinds import Retain as RetainField
from todre.methods import registry
from todre.methods.base import Method, Per

if TYPE_CHECKING:
    from todre.loading.model import Loaded


ALL = "all"
MOST = 10**9
"""Largest count that any option takes."""
MOST_SEED = 2**32 - 1
LEAST_SIDE, MOST_SIDE = 64, 1024
"""Bounds of the side of a scene's picture, in pixels."""
MOST_PROCESSES = 256
DTYPES = ("auto", "float32", "float16", "bfloat16")


@contextmanager
def usage() -> Iterator[None]:
    """Make what is refused inside wrong usage: it was typed, and no file, model or machine would make it right."""
    try:
        yield
    except (InvalidValueError, UnknownMethodError) as error:
        raise typer.BadParameter(str(error)) from error


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            close = difflib.get_close_matches(text, allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}{hint}")
        return text

    return parse


def number(least: float, most: float = math.inf, inside: bool = False) -> Callable[[str], float]:
    """A parser of a finite number from `least` to `most`, or with `inside` between them."""

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
    """The name of a device that todre runs on; whether it is there is seen when a model is loaded."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise typer.BadParameter(f"device {text!r} is unknown; use auto, cpu, cuda or cuda:N.")
    return text


def parse_each_once(values: Sequence[Any], text: str) -> None:
    """Raise if a value is given twice."""
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise typer.BadParameter(f"{text!r} names {twice} twice; name each once.")


def parse_retain(text: str) -> float:
    """A whole number is a count, anything else a fraction in (0, 1]."""
    value: float
    try:
        value = int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is not a number; give a fraction in (0, 1] such as 0.1, or a count such as 288."
            ) from None
    if value > MOST:
        raise typer.BadParameter(f"{text!r} is more than any picture has; give a count of at most {MOST:,}.")
    try:
        value = fitted("retain", value, RetainField)
    except InvalidValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def parse_name(name: str) -> str:
    """A registered name."""
    try:
        return registry.entry(name).name
    except UnknownMethodError as error:
        raise typer.BadParameter(str(error)) from error


def parse_method(name: str) -> str:
    """A registered name, or a file that holds a method."""
    if not name.endswith(".json"):
        return parse_name(name)
    try:
        registry.load(name)
    except (InvalidValueError, UnknownMethodError) as error:
        raise typer.BadParameter(str(error)) from error
    return name


def parse_names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("nothing is named; give names separated by commas.")
    return names


def parse_methods(text: str) -> str:
    """Registered names, separated by commas, or `all`, and files of methods."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("no method is named; give names separated by commas, such as none,todre.")
    names = [name if name == ALL else parse_method(name) for name in names]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} names a method twice; name each once.")
    return ",".join(names)


def every(methods: str) -> tuple[list[str], bool]:
    """The names given, with every registered one for `all`, each once; and whether `all` was given."""
    given = methods.split(",")
    named = [name for each in given for name in (registry.names() if each == ALL else (each,))]
    return list(dict.fromkeys(named)), ALL in given


def make_method(name: str, retain: float | None, seed: int, per: str | None = None) -> Method:
    """The method `name`, with those of the settings that it has; one from a file stays as it is."""
    if name.endswith(".json"):
        return registry.load(name)
    known = registry.entry(name).settings
    wanted: dict[str, Any] = {"seed": seed, "per": per or "sample"} | ({} if retain is None else {"retain": retain})
    return registry.create(name, **{key: value for key, value in wanted.items() if key in known})


def files_among(methods: str) -> tuple[str, ...]:
    """The files of methods among names separated by commas, which are inputs."""
    return tuple(name for name in methods.split(",") if name.endswith(".json"))


def check_question(question: str) -> str:
    """Raise unless there is a question."""
    if not question.strip():
        raise typer.BadParameter("the question is empty; ask something about the picture.")
    return question


def load_model(
    model: str | None, device: str, dtype: str, attn_implementation: str | None, trust_remote_code: bool, quiet: bool
) -> Loaded:
    """Load for a command; says on stderr what is downloaded."""
    from todre.cli.console import note
    from todre.loading.model import load

    return load(
        model,
        device=device,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        announce=lambda sentence: note(sentence, quiet),
    )


Model = Annotated[
    str | None,
    typer.Option("-m", "--model", help="Folder, hub id, or todre-tiny-video; else todre-tiny, which ships."),
]
Retain = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_retain,
        metavar="NUMBER",
        help="Visual tokens to keep: 0.1 is a share, 288 a count. Without it, what the method itself has.",
        show_default=False,
    ),
]
BudgetPer = Annotated[
    str | None,
    typer.Option(
        "--per",
        parser=one_of(*get_args(Per)),
        metavar="PART",
        help="What --retain counts for: sample (all together, the default), image or clip (each one), or frame.",
    ),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method", parser=parse_method, metavar="NAME", help="One of `todre methods`, or a JSON file of one."
    ),
]
MethodNames = Annotated[
    str,
    typer.Option(
        "--methods",
        parser=parse_methods,
        metavar="A,B,…",
        help="Methods, separated by commas; all: every one that applies.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", parser=parse_device, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        parser=one_of(*DTYPES),
        metavar="NAME",
        help="auto (float32 on the CPU, else the checkpoint's), float32, float16, bfloat16.",
    ),
]
Attention = Annotated[
    str | None,
    typer.Option("--attn-implementation", help="sdpa, eager, flash_attention_2, … Without it, the model's own."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of methods that choose at random.")]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, max=MOST, help="Longest answer, in tokens.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model. Know whose it is.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already; never a file that is read.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on stderr but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks and the warnings of libraries.")]
