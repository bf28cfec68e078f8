"""Kept tokens are those of the runtime's report, and what cannot be used is said rather than lost."""

import dataclasses

import pytest

import todre
from todre.analysis import selections as kept
from todre.analysis.questions import Source
from todre.analysis.results import Job
from todre.errors import TodreError, UnsupportedInputError
from todre.methods.base import Method
from todre.plots.kept_tokens import kept_tokens_figure
from todre.running import Settings, answer


class Refusing(Method):
    def select(self, visual):
        raise UnsupportedInputError("not today.")

    @property
    def selects(self):
        return True


METHODS = [
    ("none", todre.NoPruning()),
    ("todre", todre.ToDRE(retain=0.1)),
    ("same", todre.ToDRE(retain=0.1)),
    ("never", Refusing()),
]


@pytest.fixture(scope="module")
def source():
    return Source(limit=2, split="val", size=96, tasks=("presence",))


@pytest.fixture(scope="module")
def document(loaded, source, tmp_path_factory):
    output = tmp_path_factory.mktemp("kept") / "k.json"
    return kept.kept(Job("kept", {}, loaded, source, output), METHODS, 3)


def test_panels_are_what_the_runtime_reports(loaded, source, document):
    for one, record in zip(source.questions(), document["records"], strict=True):
        for name, method in METHODS[:2]:
            given = answer(loaded, [one.open()], one.question.text, method, Settings(3))
            panel = record["panels"][name]
            assert panel["kept"] == list(given.report.kept[0])
            assert panel["said"] == given.text
            assert panel["before"] == 300
        assert record["panels"]["never"] == {"refused": "not today."}


def test_tokens_that_leave_inside_the_decoder_are_not_kept(loaded, source, tmp_path):
    """Not all that entered, but those that reached the deepest layers."""
    fastv = todre.FastV(retain=0.1)
    found = kept.kept(Job("kept", {}, loaded, source, tmp_path / "k.json"), [*METHODS[1:2], ("fastv", fastv)], 3)
    assert list(found["overlap"]) == ["todre & fastv"]
    for one, record in zip(source.questions(), found["records"], strict=True):
        given = answer(loaded, [one.open()], one.question.text, fastv, Settings(3))
        assert record["panels"]["fastv"]["kept"] == given.report.survivors(0)
        assert len(record["panels"]["fastv"]["kept"]) == 30
        assert given.report.visual_tokens_after[0] == 300


def test_agreement(document):
    assert document["overlap"] == {"todre & same": 1.0}
    panels = {name: {"kept": tokens, "before": 9} for name, tokens in (("a", [1, 2, 3]), ("b", [3, 4]), ("c", [5]))}
    assert kept.overlaps([{"panels": panels}]) == {"a & b": 0.25, "a & c": 0.0, "b & c": 0.0}


def test_figure(loaded, source, document):
    rows = kept.rows_of(document, source.questions(), loaded)
    assert [[panel.title for panel in row.panels] for row in rows] == [["none", "todre", "same"]] * 2
    assert rows[0].panels[1].lines[0] == "30 of 300 visual tokens"
    drawn = [axes for axes in kept_tokens_figure(rows).axes if axes.images]
    assert len(drawn) == 6


def test_where_no_method_can_be_used(loaded, source, document):
    only = [{**record, "panels": {"never": record["panels"]["never"]}} for record in document["records"]]
    with pytest.raises(TodreError, match="not today"):
        kept.rows_of({"records": only}, source.questions(), loaded)
    panels = {"todre": {**document["records"][0]["panels"]["todre"], "before": 5}}
    fewer = [{**document["records"][0], "panels": panels}]
    with pytest.raises(TodreError, match="places of 300 are known"):
        kept.rows_of({"records": fewer}, dataclasses.replace(source, limit=1).questions(), loaded)
