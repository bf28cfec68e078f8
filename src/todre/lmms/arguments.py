"""The arguments of the model, as lmms-eval's `--model_args` states them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from todre.errors import InvalidValueError
from todre.fields import Checked
from todre.fields.kinds import Count
from todre.loading.model import SHIPPED
from todre.methods import registry
from todre.methods.base import Method

OPTIONS = (
    "pretrained",
    "revision",
    "method",
    "device",
    "dtype",
    "attn_implementation",
    "trust_remote_code",
    "batch_size",
    "frames",
    "group_size",
)
"""Names of the arguments that are not settings of the method."""


@dataclass(frozen=True)
class Arguments(Checked):
    """The model to load, and the method that prunes it.

    Args:
        method: the method.
        pretrained: folder or hub id; None for the shipped model.
        revision: branch, tag or commit on the hub.
        device, dtype, attn_implementation, trust_remote_code: arguments of `todre.loading.model.load`.
        batch_size: most questions of one forward.
        frames: frames to take of each video.
        group_size: number of successive documents that share one draw of a random method.
    """

    method: Method
    pretrained: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    batch_size: Count = 1
    frames: Count = 8
    group_size: Count = 16


def parse(values: Mapping[str, Any]) -> Arguments:
    """Make the arguments from a mapping of names to values.

    Names that are not among `OPTIONS` are settings of the method.

    Args:
        values: texts, numbers or truth values; texts that begin with a bracket are JSON. None stands for the default.
            From Python, `method` may be a method.

    Raises:
        InvalidValueError: an argument does not exist, or its value cannot be used.
        UnknownMethodError: the method does not exist.
    """
    known = {name: values[name] for name in OPTIONS if values.get(name) is not None}
    fields = {name: _value(name, value) for name, value in values.items() if name not in OPTIONS and value is not None}
    method = _method(known.pop("method", "todre"), fields)
    for name in ("batch_size", "frames", "group_size"):
        if name in known:
            known[name] = _count(name, known[name])
    if not isinstance(known.get("trust_remote_code", False), bool):
        raise InvalidValueError(f"trust_remote_code must be True or False, not {known['trust_remote_code']!r}.")
    for name in ("pretrained", "revision", "device", "dtype", "attn_implementation"):
        if name in known:
            known[name] = _words(name, known[name])
    if known.get("pretrained") == SHIPPED:
        del known["pretrained"]
    return Arguments(method=method, **known)


def _words(name: str, value: Any) -> str:
    """A text or a path.

    lmms-eval hands over those that look like numbers as numbers.
    """
    if isinstance(value, bool | int | float):
        raise InvalidValueError(
            f"{name} came as {value!r}: lmms-eval reads what looks like a number or a truth value as one, which may be "
            "another text; give a path, or a commit."
        )
    return str(value)


def _method(method: Any, fields: dict[str, Any]) -> Method:
    """The method for a name, a file or a method object."""
    name = str(method)
    if isinstance(method, Method) or name.endswith(".json"):
        if fields:
            raise InvalidValueError(
                f"The method {name} has all its settings, and {_list(fields)} would change it; "
                "leave that out, or give the method by name."
            )
        return method if isinstance(method, Method) else registry.load(name)
    settings = registry.entry(name).settings
    unknown = sorted(set(fields) - set(settings))
    if unknown:
        close = difflib.get_close_matches(unknown[0], [*OPTIONS, *settings], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InvalidValueError(
            f"There is no argument {unknown[0]!r}; {hint}the arguments are {', '.join(OPTIONS)}, and the settings of "
            f"method {name!r}: {', '.join(sorted(settings))}."
        )
    return registry.create(name, **fields)


def _value(name: str, value: Any) -> Any:
    """A value, parsed if it is JSON; lists become tuples, as methods need."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValueError(f"{name} is {value!r}, which is no JSON; write a list as [0.5,0.75].") from None
    return tuple(value) if isinstance(value, list) else value


def _count(name: str, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise InvalidValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return int(text)


def _list(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())
