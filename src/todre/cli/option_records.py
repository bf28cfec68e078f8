"""Records of options: frozen dataclasses whose fields Typer sees as options.

A command takes options that go together as one record, `model: ModelOptions = ModelOptions()`. `expand` turns the
command into a function whose signature has the record's fields in place of the record; the fields' defaults are the
values of the record's default instance.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class OptionRecord:
    """Base of frozen dataclasses whose fields are annotated as Typer options."""


class Trailing:
    """Mark of an option that a command's help lists after all unmarked options."""


@dataclass(frozen=True)
class Without:
    """Mark of a record's parameter that hides one field from the options.

    The hidden field keeps its default.

    Attributes:
        field: the hidden field's name.
    """

    field: str


@dataclass(frozen=True)
class _RecordParameter:
    """A parameter of a command that is a record.

    Attributes:
        default: the instance whose values are the options' defaults.
        fields: names of the fields that are offered as options.
    """

    default: Any
    fields: tuple[str, ...]

    def filled(self, options: dict[str, Any]) -> Any:
        """The record, filled with the values of the options."""
        return dataclasses.replace(self.default, **{name: options.pop(name) for name in self.fields})


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose signature has its records' fields in place of the records.

    Args:
        command: a function with annotations as Typer takes them; each parameter that is an `OptionRecord` has an
            instance as its default.
    """
    hints = get_type_hints(command, include_extras=True)
    records: dict[str, _RecordParameter] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not isinstance(parameter.default, OptionRecord):
            options.append(_option(parameter.name, kind, parameter.default))
            continue
        expanded = list(_options_of(parameter.default, kind))
        options += expanded
        records[parameter.name] = _RecordParameter(parameter.default, tuple(option.name for option in expanded))
    options.sort(key=lambda option: _marks(option.annotation, Trailing) != [])

    @functools.wraps(command)
    def run(**values: Any) -> None:
        built = {name: record.filled(values) for name, record in records.items()}
        command(**values, **built)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options_of(default: Any, kind: Any) -> Iterator[inspect.Parameter]:
    """The options of a record, in the order of its fields."""
    hints = get_type_hints(type(default), include_extras=True)
    left_out = {mark.field for mark in _marks(kind, Without)}
    for field in dataclasses.fields(default):
        if field.name not in left_out:
            yield _option(field.name, hints[field.name], getattr(default, field.name))


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _marks(kind: Any, mark: type) -> list[Any]:
    """The marks of a type in an annotation."""
    parts = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return [part for part in parts if isinstance(part, mark)]
