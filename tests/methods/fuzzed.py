"""Random arguments for methods and settings, from their annotations.

Some fit, some are hostile.
"""

from __future__ import annotations

import dataclasses
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

import numpy as np
import torch
from hypothesis import strategies as st

import todre
from todre.analysis.drop_records import Goal
from todre.analysis.horizon import Probe
from todre.analysis.questions import Source
from todre.bench.settings import Cell, Rounds
from todre.bench.settings import Settings as BenchSettings
from todre.evaluate.conditions import Condition
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.session import Settings as SessionSettings
from todre.evaluate.tasks.mme import ScenesMme
from todre.evaluate.tasks.pope import ScenesPope
from todre.evaluate.tasks.scenes import SceneTask
from todre.evaluate.tasks.several import ClipTask, SetTask
from todre.fields import OneOf, Range
from todre.fields.base import annotations_of
from todre.glimpse.train import Options as GlimpseOptions
from todre.lmms.arguments import Arguments
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.reproduce.cells import Run
from todre.reproduce.tiny import Tiny
from todre.running import Settings as RunSettings
from todre.svit.experiment import Options as SvitOptions
from todre.tensors.token_facts import Signal
from todre.tiny.train import Options as TinyOptions

METHODS = sorted(set(registry.classes().values()), key=lambda cls: cls.__name__)
SETTINGS = [
    *(Arguments, Condition, Goal, Run),
    *(EvalConfig, BenchSettings, Cell, ClipTask, GlimpseOptions, Probe, Rounds, RunSettings, SceneTask, ScenesMme),
    *(AutoBudget, ScenesPope, SessionSettings, SetTask, Signal, Source, SvitOptions, Tiny, TinyOptions),
]
ALL = [*METHODS, *SETTINGS]
EXAMPLES = -(-10_000 // len(ALL))
"""Constructions of each class, so that they are 10,000 in all."""

NASTY = st.sampled_from(
    [
        *(
            None,
            "",
            "x",
            "false",
            "true",
            "None",
            "0.5",
            "auto",
            "é" * 500,
            b"",
            b"0.5",
            True,
            False,
            {},
            [],
            (),
            set(),
        ),
        *(
            math.nan,
            math.inf,
            -math.inf,
            -0.0,
            0,
            1,
            1.0,
            2,
            -1,
            1.5,
            2**63,
            -(2**63),
            10**400,
            10**6000,
            5e-324,
            1e308,
        ),
        *(
            1j,
            Decimal("0.1"),
            Decimal("NaN"),
            Fraction(1, 10),
            Fraction(3),
            Fraction(10**400, 3),
            object(),
            int,
            len,
        ),
        *(
            np.float32(0.5),
            np.float64("nan"),
            np.int64(2),
            np.uint8(3),
            np.bool_(True),
            np.str_("cls"),
            np.longdouble(0.5),
        ),
        *(
            np.array(0.25),
            np.array([0.5, 0.25]),
            np.zeros((2, 2)),
            np.array("x"),
            np.array(None),
            np.datetime64("2020-01-01"),
        ),
        *(
            torch.tensor(0.5),
            torch.tensor(3),
            torch.tensor([1, 2]),
            torch.tensor(True),
            torch.zeros((), device="meta"),
        ),
        *([None], ["x"], [math.nan], [[0.5]], (True,), [1, "2"], {"a": 1}, [10**400], range(3), (x for x in ())),
        *(Path("x"), Ellipsis, NotImplemented, Exception("x")),
    ]
)
HOSTILE = st.one_of(
    NASTY,
    NASTY,
    NASTY,
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.fractions(),
    st.lists(st.floats() | st.integers() | st.text(max_size=2), max_size=4),
)


def fitting(kind):
    """Values that fit an annotation, in plain form and in other forms."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [mark for mark in parts[1:] if isinstance(mark, Range)]
        choices = [mark for mark in parts[1:] if isinstance(mark, OneOf)]
        if choices:
            return st.sampled_from(choices[0].choices)
        return inside(parts[0], bounds[0]) if bounds else fitting(parts[0])
    if origin in (Union, type(int | str)):
        return st.one_of([fitting(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        if parts[1:] != (Ellipsis,):
            return st.tuples(*map(fitting, parts))
        return st.builds(dressed, st.lists(fitting(parts[0]), max_size=4), st.sampled_from([list, tuple]))
    if kind in (int, float):
        return inside(kind, Range())
    simple = {bool: st.booleans(), str: st.text(max_size=5), type(None): st.none(), Path: st.just(Path("run"))}
    simple |= dict.fromkeys((Method, todre.ToDRE), st.just(todre.ToDRE(retain=9)))
    simple[AutoBudget] = st.sampled_from(["auto", "auto-energy-0.5", {"rule": "rank"}, AutoBudget(floor=3)])
    return simple[kind] if kind in simple else st.just({"device": "cpu"})


def dressed(value, clothes):
    return clothes(value)


def inside(kind, bounds):
    low, high = max(bounds.least, bounds.above, -(2**62)), min(bounds.most, bounds.below, 2**62)
    if kind is int:
        numbers = st.integers(math.ceil(low), min(math.floor(high), 2**62)) | st.integers(math.ceil(low), 9)
        return st.builds(dressed, numbers, st.sampled_from([int, np.int64, torch.tensor, np.array]))
    numbers = st.floats(
        low, high, exclude_min=bounds.above == low, exclude_max=bounds.below == high, allow_subnormal=False
    )
    return st.builds(dressed, numbers, st.sampled_from([float, np.float64, Fraction, np.array]))


def arguments_for(cls):
    """Arguments for a class; in half of all cases one or two of them are hostile."""
    if cls is todre.Compose:
        good = st.sampled_from([todre.DivPrune(), todre.VTW(), todre.FastV(retain=3), todre.ToMe(), todre.NoPruning()])
        bad = st.sampled_from([todre.Compose(todre.VTW())]) | HOSTILE
        lists = st.lists(good, min_size=1, max_size=3) | st.lists(good | bad, max_size=3)
        return st.tuples(lists, st.just({}) | st.fixed_dictionaries({"positions": HOSTILE | st.just("compact")}))
    kinds = annotations_of(cls)
    needed = {field.name for field in dataclasses.fields(cls) if field.default is field.default_factory}
    good = st.fixed_dictionaries(
        {name: fitting(kinds[name]) for name in needed},
        optional={name: fitting(kind) for name, kind in kinds.items() if name not in needed},
    )
    bad = st.just({}) | st.dictionaries(st.sampled_from(list(kinds)), HOSTILE, min_size=1, max_size=2)
    return st.tuples(st.just(()), st.tuples(good, bad).map(lambda both: both[0] | both[1]))


def is_plain(value):
    """True if Python's own JSON returns the value unchanged, except for tuples and automatic budgets."""
    if type(value) is AutoBudget:
        return AutoBudget.of_plain(json.loads(json.dumps(value.to_plain()))) == value
    if type(value) is tuple:
        return all(is_plain(each) for each in value)
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (bool, str) or (type(value) is int and abs(value) < 2**63)


def through_json(made):
    """`made` written as JSON and made again."""
    if isinstance(made, Method):
        return registry.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))

    def written(value):
        return value.to_dict() if isinstance(value, Method) else str(value) if isinstance(value, Path) else value

    def read(value):
        return registry.from_dict(value) if isinstance(value, dict) and "method" in value else value

    values = {field.name: written(getattr(made, field.name)) for field in dataclasses.fields(made)}
    again = json.loads(json.dumps(values, allow_nan=False))
    return type(made)(**{name: read(value) for name, value in again.items()})
