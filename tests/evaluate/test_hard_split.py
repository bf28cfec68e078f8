"""The hard split of a run that was made by hand."""

import csv
import io
import json
import math

import pytest

from todre.errors import InvalidValueError
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import Grid, grid
from todre.evaluate.hard_split import hard_splits
from todre.evaluate.journal import Done
from todre.evaluate.statistics import wilson
from todre.methods.downsample import Downsample
from todre.reading.hard_split import WRITERS, splits_of
from todre.reading.results import read

CONFIG = EvalConfig(("scenes-colour",), "./nowhere", limit=8, size=96, group_size=3, device="cpu")
RIGHT = {
    "none": "11111100",
    "downsample@0.5": "11100010",
    "todre@0.5": "10110111",
    "random@0.5#0": "11110000",
    "random@0.5#1": "01111100",
    "todre@0.25": "00000000",
    "random@0.25#0": "00000000",
    "random@0.25#1": "00000000",
}
"""By condition: whether each of the eight questions is answered right."""


def answering(config):
    """The function that answers a unit by `RIGHT`, and refuses a budget of downsample."""
    items = config.items()
    order = [item.id for item in items]

    def work(task):
        unit, condition = task
        if condition.name == "downsample@0.25":
            return Done(unit, 0.0, [], "too few")
        groups = [items[start : start + 3] for start in range(0, len(items), 3)]
        replies = []
        for item in groups[unit.group]:
            good = RIGHT[condition.name][order.index(item.id)] == "1"
            replies.append([item.references[0] if good else "perhaps", 40, 20.5, None])
        return Done(unit, 0.1, replies)

    return work


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    items = CONFIG.items()
    assert len({item.picture for item in items}) == len(items), "each question has a picture, so groups are in order"
    folder = tmp_path_factory.mktemp("hard") / "run"
    run(CONFIG, grid(["todre", "downsample", "random"], [0.5, 0.25], draws=2), folder, start=answering)
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return json.loads((folder / "result.json").read_text())


def share(answers, members):
    return sum(answers[place] == "1" for place in members) / len(members)


def test_groups_and_shares_are_those_counted_by_hand(result):
    (split,) = result["hard_splits"]
    assert (split["control"], split["retain"], split["questions"], split["right_without_pruning"]) == (
        "downsample", 0.5, 8, 6,
    )  # fmt: skip
    hard, simple = [3, 4, 5], [0, 1, 2]
    assert split["groups"] == {"hard": {"questions": 3, "pictures": 3}, "simple": {"questions": 3, "pictures": 3}}
    assert [(row["name"], row["draws"]) for row in split["rows"]] == [("todre", 1), ("random", 2)]
    for row, draws in zip(split["rows"], (["todre@0.5"], ["random@0.5#0", "random@0.5#1"]), strict=True):
        for group, members in (("hard", hard), ("simple", simple)):
            expected = sum(share(RIGHT[name], members) for name in draws) / len(draws)
            assert row[group]["value"] == pytest.approx(expected, abs=1e-6)
            assert row[group]["low"] < expected < row[group]["high"] or expected in (0.0, 1.0)
    assert split["rows"][0]["hard"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert "0 by construction" in split["statement"]


def test_the_interval_is_wilsons_of_the_groups_size(result):
    found = result["hard_splits"][0]["rows"][0]["hard"]
    share, z, n = 2 / 3, 1.959963984540054, 3
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert (found["low"], found["high"]) == (
        pytest.approx(centre - half, abs=1e-6),
        pytest.approx(centre + half, abs=1e-6),
    )
    assert wilson(2.5, 3).low < 2.5 / 3 < wilson(2.5, 3).high


def test_the_control_is_no_row_of_its_own_split_and_other_budgets_are_left_out(result):
    (split,) = result["hard_splits"]
    assert "downsample" not in {row["name"] for row in split["rows"]}
    assert result["left_out"] == {"downsample@0.25": "too few"}


def test_a_control_without_a_budget_leaves_the_field_empty(result):
    split = {**result["hard_splits"][0], "retain": None}
    (line, *_) = csv.DictReader(io.StringIO(WRITERS["csv"]([split], True)))
    assert line["budget"] == ""


def test_runs_without_the_control_have_no_split(tmp_path):
    run(CONFIG, grid(["todre"], [0.5]), tmp_path / "run", start=answering)
    assert "hard_splits" not in json.loads((tmp_path / "run" / "result.json").read_text())
    assert hard_splits([], []) == []


def test_an_empty_group_has_no_share(tmp_path):
    same = Condition("none", Downsample(retain=0.5))
    planned = grid(["todre"], [0.5])
    control = type(planned.rows[1])("downsample", 0.5, (same,))
    run(CONFIG, Grid((*planned.rows, control), {}), tmp_path / "run", start=answering)
    (split,) = json.loads((tmp_path / "run" / "result.json").read_text())["hard_splits"]
    assert split["groups"]["hard"] == {"questions": 0, "pictures": 0}
    assert split["rows"][0]["hard"] == {"value": None, "low": None, "high": None}
    assert "| todre | 20 | – |" in WRITERS["markdown"](splits_of(read([tmp_path / "run"])), True)


@pytest.mark.parametrize("form", WRITERS)
def test_tables_hold_sizes_shares_and_the_caution(folder, form):
    text = WRITERS[form](splits_of(read([folder]), 0.5), True)
    assert "todre" in text
    if form != "csv":
        assert "0 by construction" in text
        assert "hard (3 questions, 3 pictures)" in text
        assert "66.7 [" in text
    else:
        assert text.splitlines()[1].startswith("downsample,0.5,20.5,hard,3,3,todre,1,20.5,0.66666")
        assert len(text.splitlines()) == 1 + 2 * 2


def test_only_named_methods_are_shown(folder):
    (split,) = read([folder]).only(["random"]).splits
    assert [row["name"] for row in split["rows"]] == ["random"]


def test_missing_splits_are_named(folder, tmp_path):
    with pytest.raises(InvalidValueError, match=r"no hard split at the budget 0\.1; use one of 0\.5"):
        splits_of(read([folder]), 0.1)
    run(CONFIG, grid(["todre"], [0.5]), tmp_path / "run", start=answering)
    with pytest.raises(InvalidValueError, match="run `todre eval` with downsample among --methods"):
        splits_of(read([tmp_path / "run"]))
