"""Results of `todre eval`, read from files, checked and put together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.files import making_sense
from todre.reading.alike import check_alike, identity, model_of
from todre.reading.documents import document_of, file_of
from todre.reading.result_shape import RESULT

ALL = "all"
"""The column of the mean over tasks."""
DIFFERENCE = "difference"
MEASURES = ("retention", "score", DIFFERENCE)
NONE = "none"

Budget = float | int


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; unknown parts, even the number, are None."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, numbers: dict[str, Any]) -> Interval:
        """Make an interval from numbers in `result.json`."""
        return cls(numbers["value"], numbers["low"], numbers["high"])

    def excludes(self, value: float) -> bool:
        """True if the interval is known and `value` lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


@dataclass(frozen=True)
class Entry:
    """A method at one budget.

    Attributes:
        name: name of the method, with the model's in brackets where results of several models are together.
        retain: the budget, or None for a method without a budget.
        draws: number of times that the method was run.
        fields: the method's settings.
        visual_tokens: visual tokens that entered the decoder, the mean over questions.
        layer_mean: visual tokens that a decoder layer ran on, the mean over layers and questions.
        before: visual tokens without pruning.
        values: intervals by measure, then by task or `ALL`; the entry without pruning has only the score.
        drawn: scores of each draw, if there are several.
        others: differences from other methods at the same budget, by the other's name, then by task or `ALL`.
    """

    name: str
    retain: Budget | None
    draws: int
    fields: dict[str, Any]
    visual_tokens: float
    layer_mean: float
    before: float
    values: dict[str, dict[str, Interval]]
    drawn: tuple[float, ...] = ()
    others: dict[str, dict[str, Interval]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name with the budget, such as `todre@0.1`, or the name alone."""
        return self.name if self.retain is None else f"{self.name}@{self.retain:g}"

    @property
    def share(self) -> float:
        """Visual tokens that a decoder layer ran on, as a share of those without pruning."""
        return self.layer_mean / self.before

    def value(self, measure: str, task: str = ALL) -> Interval:
        """Interval of a measure, for one task or the mean over tasks."""
        return self.values.get(measure, {}).get(task, Interval(None))

    def differs(self, task: str = ALL) -> bool:
        """True if the interval of the difference to no pruning excludes 0."""
        return self.value("difference", task).excludes(0.0)


@dataclass(frozen=True)
class Results:
    """Results of one or several runs.

    Attributes:
        none: entries without pruning, one for each model.
        entries: entries of methods at budgets, in the order of the files.
        tasks: names of the tasks.
        questions, pictures: numbers of questions and of pictures.
        conditions: conditions of each file.
        left_out: reasons by name of a method that the run left out.
        splits: the hard splits of the runs, as in their `result.json`, with the model's name where there are several.
        reference: the method that differences are from.
    """

    none: tuple[Entry, ...]
    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    questions: int
    pictures: int
    conditions: tuple[dict[str, Any], ...]
    left_out: dict[str, str]
    splits: tuple[dict[str, Any], ...] = ()
    reference: str = NONE

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods in order, except no pruning."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries))

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Budgets: shares from large to small, then counts."""
        found = {entry.retain for entry in self.entries if entry.retain is not None}
        return tuple(sorted(found, key=lambda retain: (isinstance(retain, int), -retain)))

    @property
    def model(self) -> str:
        """Names of the models."""
        return ", ".join(dict.fromkeys(model_of(conditions) for conditions in self.conditions))

    def at(self, retain: Budget | None) -> tuple[Entry, ...]:
        """Entries at one budget; None means entries without a budget."""
        return tuple(entry for entry in self.entries if entry.retain == retain)

    def of(self, name: str) -> tuple[Entry, ...]:
        """Entries of one method, from few tokens to many."""
        return tuple(sorted((e for e in self.entries if e.name == name), key=lambda e: e.visual_tokens))

    def budget(self, chosen: Budget | None = None) -> Budget:
        """A budget that was run: `chosen`, or by default the nearest to 10 %.

        Raises:
            InvalidValueError: `chosen` was not run, or no method has a budget.
        """
        if not self.budgets:
            raise InvalidValueError("No method here has a budget; run `todre eval` with --retain.")
        if chosen is None:
            return min(self.budgets, key=lambda retain: abs(share_of(retain, self.none[0].visual_tokens) - 0.1))
        if chosen not in self.budgets:
            ran = ", ".join(f"{retain:g}" for retain in self.budgets)
            raise InvalidValueError(f"Nothing was run at the budget {chosen:g}; use one of {ran}.")
        return chosen

    def only(self, names: Sequence[str]) -> Results:
        """Results of these methods alone, in this order.

        Raises:
            InvalidValueError: a method was not run.
        """
        for name in names:
            if name not in (*self.names, NONE):
                close = difflib.get_close_matches(name, self.names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"use some of {', '.join(self.names)}."
                raise InvalidValueError(f"There is no {name!r} among the results; {hint}")
        order = {name: place for place, name in reversed(list(enumerate(names)))}
        kept = sorted((e for e in self.entries if e.name in order), key=lambda entry: order[entry.name])
        splits = [split | {"rows": [row for row in split["rows"] if row["name"] in order]} for split in self.splits]
        return replace(self, entries=tuple(kept), splits=tuple(splits))

    def against(self, name: str) -> Results:
        """Results with differences from method `name` in place of those from no pruning.

        Raises:
            InvalidValueError: the run did not compare with this method.
        """
        known = dict.fromkeys(other for entry in self.entries for other in entry.others)
        if name not in known:
            named = f"it did with {', '.join(known)}" if known else "name it with --against there"
            raise InvalidValueError(f"The run of `todre eval` compared nothing with {name!r}; {named}.")
        kept = [
            replace(entry, values={"score": entry.values["score"], "difference": entry.others[name]})
            for entry in self.entries
            if name in entry.others
        ]
        return replace(self, entries=tuple(kept), reference=name)


def share_of(retain: Budget, before: float) -> float:
    """A budget as a share of the `before` visual tokens without pruning."""
    return retain / before if isinstance(retain, int) else retain


def read(paths: Sequence[Path]) -> Results:
    """Read results of `todre eval` from files or folders of runs, put together.

    Raises:
        InvalidValueError: a file cannot be read or is another command's, the questions differ, or two files disagree
            about one method of one model.
    """
    documents = [(path, document_of(path)) for path in paths]
    if not documents:
        raise InvalidValueError("No result is named; give the folder of a run of `todre eval`, or its result.json.")
    first_path, first = documents[0]
    for place, (path, document) in enumerate(documents):
        if document["conditions"]["questions"] != first["conditions"]["questions"]:
            raise InvalidValueError(
                f"{first_path} and {path} are not about the same questions, so that their numbers cannot be compared; "
                "run both with the same --tasks, --limit, --seed and --size."
            )
        for earlier, other in documents[:place]:
            check_alike(earlier, other["conditions"], path, document["conditions"])
    several = len({identity(document["conditions"]) for _, document in documents}) > 1
    none: dict[str, tuple[Path, Entry]] = {}
    entries: dict[str, tuple[Path, Entry]] = {}
    splits: list[dict[str, Any]] = []
    for path, document in documents:
        suffix = f" ({_name(document['conditions'], [d['conditions'] for _, d in documents])})" if several else ""
        with making_sense(file_of(path), RESULT):
            rows = _entries(document, suffix)
        _add(none, path, rows[:1])
        _add(entries, path, rows[1:])
        splits += [_split(split, suffix) for split in document.get("hard_splits", ())]
    return Results(
        tuple(entry for _, entry in none.values()),
        tuple(entry for _, entry in entries.values()),
        tuple(first["tasks"]),
        first["questions"],
        first["pictures"],
        tuple(document["conditions"] for _, document in documents),
        {name: reason for _, document in documents for name, reason in document["left_out"].items()},
        tuple(splits),
    )


def _add(known: dict[str, tuple[Path, Entry]], path: Path, entries: Iterable[Entry]) -> None:
    """Add entries to `known`; an entry that is there already must be equal."""
    for entry in entries:
        before, other = known.setdefault(entry.label, (path, entry))
        if other != entry:
            raise InvalidValueError(
                f"{before} and {path} have other numbers for {entry.label}; leave out one of the two, "
                "or rename the method."
            )


def _entries(document: dict[str, Any], suffix: str) -> list[Entry]:
    """Entries of a document's rows; the first is the one without pruning."""
    before = document["rows"][0]["visual_tokens"]
    found = []
    for row in document["rows"]:
        values = {"score": {ALL: Interval.of(row["score"])}}
        values["score"] |= {task: Interval.of(score) for task, score in row["tasks"].items()}
        against = row.get("against_none")
        for measure in ("difference", "retention") if against else ():
            values[measure] = {ALL: Interval.of(against[measure])}
            values[measure] |= {task: Interval.of(measured[measure]) for task, measured in against["tasks"].items()}
        drawn = tuple(row.get("score_of_each_draw", ()))
        tokens = row["visual_tokens"], row["layer_mean"], before
        others = {
            name + suffix: {ALL: Interval.of(beside["difference"])}
            | {task: Interval.of(one) for task, one in beside["tasks"].items()}
            for name, beside in row.get("against", {}).items()
        }
        what = row["name"] + suffix, row["retain"], row["draws"], row["fields"]
        found.append(Entry(*what, *tokens, values, drawn, others))
    return found


def _split(split: dict[str, Any], suffix: str) -> dict[str, Any]:
    """A hard split with the model's name behind each method's."""
    rows = [row | {"name": row["name"] + suffix} for row in split["rows"]]
    return split | {"control": split["control"] + suffix, "rows": rows}


def _name(conditions: dict[str, Any], all_of_them: Sequence[dict[str, Any]]) -> str:
    """The model's name, with the dtype where only that tells two models apart."""
    name = model_of(conditions)
    alike = {identity(other) for other in all_of_them if model_of(other) == name}
    return name if len(alike) == 1 else f"{name}, {conditions['dtype']}"
