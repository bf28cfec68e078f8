"""Fields of methods and settings are converted or refused when a record is made."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import pkgutil
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from methods.fuzzed import ALL, METHODS, is_plain

import todre
from todre.errors import InvalidValueError, UnknownMethodError
from todre.fields import Checked, Items, OneOf, fitted, short_repr
from todre.fields.base import annotations_of
from todre.fields.kinds import Layers, Retain
from todre.methods import registry
from todre.methods.base import Method, budget

SEED = "a whole number from 0 to 2**63 - 1"
NEVER = [math.nan, math.inf, b"x", 1j, Decimal("0.1"), object(), {"a": 1}, {1}, np.zeros((2, 2)), 2**63]
"""What no field of a method may hold, whatever its annotation."""


@pytest.mark.parametrize("cls", [cls for cls in METHODS if cls is not todre.Compose], ids=lambda cls: cls.__name__)
def test_no_field_of_a_method_holds_what_json_cannot(cls):
    for name in annotations_of(cls):
        for value in NEVER:
            with pytest.raises(InvalidValueError, match=rf"^{cls.__name__}\.{name}.* must be .*, not .*\.$"):
                cls(**{name: value})


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: f"{cls.__module__.removeprefix('todre.')}.{cls.__name__}")
def test_every_class_is_checked_and_can_be_read(cls):
    assert issubclass(cls, Checked)
    assert list(annotations_of(cls)) == [field.name for field in dataclasses.fields(cls) if field.init]


def test_annotations_of_every_checked_class_can_be_read():
    """This is about all classes of the package, not only those above.

    Kernels, models of other engines and the page need packages that may be absent.
    """
    found = {cls for each in pkgutil.walk_packages(todre.__path__, "todre.") for cls in classes_of(each.name)}
    assert len(found) > len(ALL)
    for cls in found:
        annotations_of(cls)


def classes_of(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in ("triton", "lmms_eval", "vllm", "gradio"):
            return []
        raise
    made = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Checked)]
    return [each for each in made if dataclasses.is_dataclass(each)]


def test_every_registered_name_makes_one_that_a_file_holds(tmp_path):
    for name in registry.names():
        made = registry.create(name)
        registry.save(made, tmp_path / "m.json")
        assert registry.load(tmp_path / "m.json") == made == registry.from_dict({"method": name} | {})


@pytest.mark.parametrize(
    ("given", "held"),
    [
        *((np.float64(0.25), 0.25), (np.float32(0.5), 0.5), (np.array(0.25), 0.25), (torch.tensor(0.5), 0.5)),
        *((Fraction(1, 4), 0.25), (Fraction(1), 1.0), (np.int64(7), 7), (torch.tensor(7), 7), (1, 1), (1.0, 1.0)),
    ],
)
def test_budgets_are_made_plain(given, held):
    retain = todre.DivPrune(retain=given).retain
    assert retain == held
    assert type(retain) is type(held)
    assert budget(retain, 100) == (held if isinstance(held, int) else round(held * 100))


def test_one_is_a_token_and_one_point_nought_is_everything():
    assert budget(todre.DivPrune(retain=1).retain, 100) == 1
    assert budget(todre.DivPrune(retain=np.int64(1)).retain, 100) == 1
    assert budget(todre.DivPrune(retain=1.0).retain, 100) == 100
    assert budget(todre.DivPrune(retain=Fraction(1)).retain, 100) == 100


def test_lists_arrays_and_lone_numbers_are_tuples():
    for layers in ([0.5, 3], np.array([0.5, 0.75]), torch.tensor([1, 3]), 3, np.int64(3), (0.5,)):
        held = registry.create("pyramiddrop", layers=layers).layers
        assert type(held) is tuple
        assert is_plain(held)
    assert registry.create("pyramiddrop", layers=torch.tensor([1, 3])).layers == (1, 3)


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("cls-top-k", {"layer": "x"}, "CLSTopK.layer must be a whole number, not 'x'."),
        ("cls-top-k", {"layer": None}, "CLSTopK.layer must be a whole number, not None."),
        ("cls-top-k", {"layer": 1.5}, "CLSTopK.layer must be a whole number, not 1.5."),
        ("cls-top-k", {"layer": True}, "CLSTopK.layer must be a whole number, not True."),
        ("tome", {"proportional": "false"}, "ToMe.proportional must be True or False, not 'false'."),
        ("tome", {"proportional": 0}, "ToMe.proportional must be True or False, not 0."),
        ("todre", {"admissible": None}, "ToDRE.admissible must be True or False, not None."),
        ("sparsevlm", {"recycle": "no"}, "SparseVLM.recycle must be True or False, not 'no'."),
        ("vflowopt", {"tower_layer": []}, "VFlowOpt.tower_layer must be a whole number, not []."),
        ("random", {"seed": 2**63}, f"RandomTokens.seed must be {SEED}, not 9223372036854775808."),
        ("random", {"seed": 1 << 19999}, f"RandomTokens.seed must be {SEED}, not a whole number of 20000 bits."),
        ("mmr", {"importance": ["norm"]}, "MMR.importance must be one of auto, cls, received, norm, not ['norm']."),
        ("glimpseprune", {"least": 5, "cap": 3}, "GlimpsePrune.least must be at most its cap of 3 tokens, not 5."),
        ("glimpseprune", {"weights": Path("x")}, "GlimpsePrune.weights must be a text or None, not PosixPath('x')."),
    ],
)  # fmt: skip
def test_the_kinds_of_nonsense_that_used_to_fail_at_attach(name, fields, sentence):
    with pytest.raises(InvalidValueError) as caught:
        registry.create(name, **fields)
    assert str(caught.value) == sentence
    with pytest.raises(InvalidValueError):
        registry.from_dict({"method": name} | fields)


def test_names_that_are_none():
    for name in (None, 3, [], {}, b"todre", math.nan):
        with pytest.raises(UnknownMethodError, match="a method is named by text, such as 'todre'"):
            registry.create(name)
    for name in ("todr", "x" * 200_000, "", "todre\n"):
        with pytest.raises(UnknownMethodError) as caught:
            registry.create(name)
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownMethodError, match="did you mean 'divprune'"):
        registry.create("divprun")
    with pytest.raises(InvalidValueError, match="no setting 'retian'; did you mean 'retain'"):
        registry.create("divprune", retian=0.1)
    with pytest.raises(UnknownMethodError, match="no method 'zzz'"):
        registry.from_dict({"method": "zzz"})


@pytest.mark.parametrize(
    "values",
    [
        *(None, 3, [], "todre", {}, {"method": None}, {"method": ["todre"]}, {"method": "todre", 3: 4}),
        *({"method": "compose"}, {"method": "compose", "methods": 3}, {"method": "compose", "methods": [3]}),
        *({"method": "compose", "methods": [None]}, {"method": "compose", "methods": {"method": "todre"}}),
        *({"method": "compose", "methods": [{"method": "todre"}], "positions": 3}, {"method": "todre", "layers": {}}),
        {"method": "compose", "methods": [{"method": "compose", "methods": [{"method": "todre"}]}]},
        {"method": "todre-v1", "diversiti": "k_center"},
    ],
)
def test_descriptions_that_are_none(values):
    with pytest.raises(InvalidValueError) as caught:
        registry.from_dict(values)
    assert len(str(caught.value)) < 300


def test_a_preset_in_a_file_is_the_preset():
    assert registry.from_dict({"method": "todre-v1", "retain": 0.2}) == todre.ToDRE.v1(retain=0.2)
    assert registry.from_dict({"method": "divprune+random-64", "seed": 3}) == registry.create(
        "divprune+random-64", seed=3
    )
    with pytest.raises(InvalidValueError, match="DivPrune is the method 'divprune', not 'random'"):
        todre.DivPrune.from_dict({"method": "random"})


class Mode(Enum):
    FAST = "fast"
    FULL = "full"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Method):
    """A method as a user writes it."""

    retain: Retain = 0.1
    layers: Layers = (0.5,)
    mode: Mode = Mode.FAST
    weight: float = 1.0
    pair: tuple[int, str] | None = None
    names: Annotated[tuple[str, ...], Items(once=True)] = ()
    needed: bool

    name = "own"

    def __post_init__(self):  # without super(): the fields are checked all the same, and first
        if self.mode is Mode.FULL and self.weight > 1:
            raise InvalidValueError("Own.weight must be at most 1 where all is full.")


class Heir(Own):
    """A subclass without the decorator, so with the fields of its base."""


@pytest.mark.parametrize("cls", [Own, Heir])
def test_a_method_of_ones_own_is_checked_as_any_other(cls):
    made = cls(retain=np.int64(3), layers=[2], mode="full", weight=Fraction(1, 2), pair=[1, "x"], needed=np.bool_(True))
    assert (made.retain, made.layers, made.mode, made.weight, made.pair, made.needed) == (
        3,
        (2,),
        Mode.FULL,
        0.5,
        (1, "x"),
        True,
    )
    again = json.loads(json.dumps(made.to_dict()))
    assert again["mode"] == "full"
    assert cls.from_dict(again) == made
    for fields, sentence in [
        ({"retain": 1.5}, r"retain must be a fraction in \(0, 1\]"),
        ({"mode": "slow"}, "mode must be one of fast, full, not 'slow'"),
        ({"mode": "full", "weight": 2}, "weight must be at most 1"),
        ({"mode": "full", "weight": "2"}, "weight must be a number, not '2'"),
        ({"pair": (1,)}, "pair must be a list of 2: a whole number, a text or None"),
        ({"pair": ("x", 1)}, r"pair\[0\] must be a whole number, not 'x'"),
        ({"names": ("a", "a")}, "names must be a list, none twice, each a text"),
        ({"needed": 1}, "needed must be True or False, not 1"),
        *(
            ({"weight": value}, "weight must be a number, not ")
            for value in (
                math.nan,
                math.inf,
                np.float32("nan"),
                torch.tensor(-math.inf),
                10**400,
                Fraction(10**400),
                True,
            )
        ),
    ]:
        with pytest.raises(InvalidValueError, match=sentence):
            cls(**({"needed": True} | fields))
    with pytest.raises(InvalidValueError, match="needs its field 'needed'"):
        cls.from_dict({})
    with pytest.raises(InvalidValueError, match="weight must be a number, not 'x'"):
        dataclasses.replace(made, weight="x")


def test_annotations_that_cannot_be_read_are_named():
    space = {"Method": Method, "dataclass": dataclasses.dataclass}
    code = "from __future__ import annotations\n@dataclass(frozen=True)\nclass Lost(Method):\n    a: Nowhere = 3\n"
    exec(code, space)
    with pytest.raises(InvalidValueError, match="Lost cannot be checked: 'Nowhere', which an annotation names"):
        space["Lost"]()


class Rude:
    """An object on which every operation fails."""

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    @property
    def shape(self):
        raise RuntimeError("no")


def test_objects_that_fail_when_looked_at_are_refused_too():
    for kind in (
        int,
        float,
        str,
        bool,
        Literal["a"],
        tuple[int, ...],
        int | None,
        Path,
        Mode,
        Retain,
        Annotated[str, OneOf(("a",))],
    ):
        with pytest.raises(InvalidValueError, match="x must be"):
            fitted("x", Rude(), kind)
    circle = []
    circle.append(circle)
    with pytest.raises(InvalidValueError, match=r"x\[0\] must be"):
        fitted("x", circle, tuple[int, ...])


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, list(range(10**6)), {i: i for i in range(10**5)}, 10**9999, "a\nb"],
    ids=map(str, range(6)),
)
def test_values_are_shown_short(value):
    assert len(short_repr(value)) < 200
    assert "\n" not in short_repr(value)
