"""Subjects, the methods that are run for published rows, and rows by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from todre.bench.method_specs import parse
from todre.bench.presets import PRESETS, Preset
from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.base import Method, NoPruning
from todre.published import Row, Table

BUDGETS = ("count", "share")


@dataclass(frozen=True)
class Subject:
    """The method run for a row; rows of several models can share a subject.

    Attributes:
        name: `none`, or the row's method with its settings.
        retain: the budget, a share or a count; None where the row has none.
        method: the method itself.
    """

    name: str
    retain: float | None
    method: Method

    @property
    def key(self) -> str:
        """The name with its budget, such as `todre-v1@288`, or the name alone."""
        return self.name if self.retain is None else f"{self.name}@{self.retain:g}"


@dataclass(frozen=True)
class Rows:
    """The rows of a table that are about a model.

    Attributes:
        rows: the rows in order, no pruning first.
        preset: the published model that the rows are about.
        warnings: texts that say so if the user's model is another one.
    """

    rows: tuple[Row, ...]
    preset: str
    warnings: tuple[str, ...]


def subject(row: Row, budget: str = "share") -> Subject | None:
    """The subject of a row; None where the row says why nothing can be run.

    Args:
        row: a row of a published table.
        budget: `share` keeps the row's share of a picture's visual tokens, `count` the printed number of tokens, or
            the share where no number is printed.
    """
    if row.reason:
        return None
    if row.method is None:
        return Subject("none", None, NoPruning())
    name, settings = parse(row.method)
    retain = row.tokens if budget == "count" and row.tokens is not None else row.retain
    budget_setting = {} if retain is None else {"retain": retain}
    return Subject(row.method, retain, registry.create(name, **budget_setting, **settings))


def subjects(rows: Sequence[Row], budget: str = "share") -> tuple[Subject, ...]:
    """The subjects of all rows, each once."""
    found = [one for row in rows if (one := subject(row, budget)) is not None]
    return tuple({one.key: one for one in found}.values())


def with_beside(table: Table, methods: Sequence[str]) -> Table:
    """The table with rows of further methods behind the rows of each model and budget.

    Their rows have no published numbers.

    Args:
        table: the published table.
        methods: texts that `todre.bench.method_specs.parse` takes, of methods with a budget.

    Raises:
        InvalidValueError: a method is unknown, has no budget or sets its own, is in the table or named twice, or the
            table names no budgets.
    """
    if not methods:
        return table
    places = {(row.model, row.retain): at for at, row in enumerate(table.rows) if row.retain is not None}
    if not places:
        raise InvalidValueError(f"{table.id} names no budgets, so that nothing can be measured beside its rows.")
    for number, text in enumerate(methods):
        check_beside(text)
        if text in methods[:number] or any(row.method == text for row in table.rows):
            raise InvalidValueError(
                f"{text!r} would be measured twice; name each method once, and none of the table's."
            )
    rows: list[Row] = []
    for at, row in enumerate(table.rows):
        rows.append(row)
        if row.retain is not None and places[row.model, row.retain] == at:
            rows += [replace(row, label=text, method=text, values={}, notes={}, reason="") for text in methods]
    return replace(table, rows=tuple(rows))


def check_beside(text: str) -> None:
    """Check that a method can be measured at the budgets of a table.

    Raises:
        TodreError: the method is unknown, has no budget, or sets its own.
    """
    name, settings = parse(text)
    if "retain" not in registry.entry(name).settings:
        raise InvalidValueError(f"{name} has no budget, so that it cannot be measured at the table's; name another.")
    if "retain" in settings:
        raise InvalidValueError(f"{text!r} sets a budget, and the table's are used; leave retain out.")
    registry.create(name, **settings)


def repository(preset: str) -> str:
    """Hub id of the checkpoint of a published model."""
    return PRESETS[preset].aliases[0]


def rows_about(table: Table, model: str, config: Any = None) -> Rows:
    """The rows about a model, or, with a warning, about the nearest model.

    Args:
        table: the published table.
        model: folder or hub id.
        config: the model's transformers config; not read if the table is about the hub id.
    """
    named = [name for name in table.models if model in PRESETS[name].aliases]
    if named:
        return Rows(_about(table, named[0]), named[0], ())
    text = config.get_text_config()
    have = config.model_type, text.num_hidden_layers, text.hidden_size
    same_type = [name for name in table.models if _shape(PRESETS[name])[0] == have[0]]
    same_width = [name for name in same_type if _shape(PRESETS[name])[2] == have[2]]
    preset = (*same_width, *same_type, *table.models)[0]
    published = _shape(PRESETS[preset])
    if have == published:
        return Rows(_about(table, preset), preset, ())
    warning = (
        f"{model} is {_described(have)}, and {table.id} is about {repository(preset)}, which is "
        f"{_described(published)}; differences to its numbers say nothing about a method."
    )
    return Rows(_about(table, preset), preset, (warning,))


def is_published(table: Table, model: str) -> bool:
    """Whether the table is about the model with this hub id."""
    return any(model in PRESETS[name].aliases for name in table.models)


def _about(table: Table, preset: str) -> tuple[Row, ...]:
    return tuple(row for row in table.rows if row.model == preset)


def _shape(preset: Preset) -> tuple[str, int, int]:
    text: Mapping[str, Any] = preset.config["text_config"]
    return preset.config["model_type"], text["num_hidden_layers"], text["hidden_size"]


def _described(shape: tuple[str, int, int]) -> str:
    return f"{shape[0]} with {shape[1]} decoder layers of width {shape[2]}"
