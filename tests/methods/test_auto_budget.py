"""Automatic budgets as fields of methods: how they are written, what they count, who takes them."""

from __future__ import annotations

import json

import pytest
import torch
from methods.examples import anyres, placeless

import todre
from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.auto_budget import THRESHOLDS, AutoBudget
from todre.methods.base import budget
from todre.methods.specs import method_of
from todre.select import coverage_count, effective_rank, energy_rank

WITH_BUDGET = [name for name in registry.names() if "retain" in registry.entry(name).settings]
INSIDE = "such as 0.1, or a whole number of tokens from 1, such as 288, not 'auto'."


@pytest.mark.parametrize("name", WITH_BUDGET)
def test_every_method_takes_an_automatic_budget_or_refuses_it_in_one_sentence(name):
    acts = registry.entry(name).card.acts
    if "select" not in acts or name == "history":  # one budget over all pictures, where auto counts each by itself
        with pytest.raises(InvalidValueError) as refused:
            registry.create(name, retain="auto")
        assert str(refused.value).endswith(INSIDE)
        return
    method = registry.create(name, retain="auto")
    assert method.retain == AutoBudget()
    assert method.kept_of(100) is None
    again = registry.from_dict(json.loads(json.dumps(method.to_dict(), allow_nan=False)))
    assert again == method
    assert hash(again) == hash(method)


def test_a_budget_is_written_in_many_ways():
    for text, expected in {
        "auto": AutoBudget(),
        "auto-energy": AutoBudget(rule="energy"),
        "auto-coverage-0.75": AutoBudget(rule="coverage", threshold=0.75),
        "auto-rank-2": AutoBudget(rule="rank", threshold=2),
    }.items():
        held = todre.DivPrune(retain=text).retain
        assert held == expected == method_of(f"divprune:retain={text}").retain
        assert AutoBudget.of_plain(str(held)) == held
        assert text in str(held)
        assert AutoBudget.of_plain(json.loads(json.dumps(held.to_plain()))) == held
        assert f"{held:g}" == str(held)
    assert str(AutoBudget()) == "auto"
    assert str(AutoBudget(rule="rank", threshold=2)) == "auto-rank-2"
    assert str(AutoBudget(floor=3)) == f"auto-coverage-{THRESHOLDS['coverage']:g}"
    assert AutoBudget(rule="rank").cut == THRESHOLDS["rank"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("auto-x", "There is no automatic budget 'auto-x'; write auto, auto-RULE or auto-RULE-THRESHOLD"),
        ("auto-energy-x", "There is no automatic budget 'auto-energy-x'; write auto"),
        ("auto-energy-2", r"AutoBudget\.threshold must be in \(0, 1\] for the rule 'energy', not 2"),
        ("auto-rank-0", r"AutoBudget\.threshold must be a number above 0 or None, not 0"),
        ({"rule": "x"}, r"AutoBudget\.rule must be one of rank, energy, coverage, not 'x'"),
        ({"rule": "rank", "floor": 0}, r"AutoBudget\.floor must be a fraction in \(0, 1\]"),
        ({"rule": "rank", "depth": 0}, r"DivPrune\.retain must be 'auto', a fraction in \(0, 1\]"),
        ("automatic", r"DivPrune\.retain must be 'auto', a fraction in \(0, 1\]"),
    ],
)
def test_what_is_no_budget_is_one_sentence(value, sentence):
    with pytest.raises(InvalidValueError, match=rf"^{sentence}.*\.$"):
        todre.DivPrune(retain=value)


def test_a_floor_above_its_ceiling_is_one_sentence():
    with pytest.raises(InvalidValueError, match=r"floor=0\.5 is more than ceiling=0\.2; lower the floor"):
        AutoBudget(floor=0.5, ceiling=0.2)
    with pytest.raises(InvalidValueError, match="floor=9 is more than ceiling=4"):
        AutoBudget(floor=9, ceiling=4)


def test_no_number_of_tokens_has_an_automatic_budget():
    with pytest.raises(InvalidValueError, match=r"^The budget auto depends on the picture, so 9 tokens alone do not"):
        budget(AutoBudget(), 9)


def test_each_rule_counts_the_pictures_own_tokens():
    visual = anyres(d=6)
    content = visual.embeddings[~visual.newline]
    assert int(visual.newline.sum()) > 0
    for cut in (0.3, 0.6, 0.9, 1.0):
        made = {rule: AutoBudget(rule=rule, threshold=cut, floor=1) for rule in ("energy", "coverage", "rank")}
        assert made["energy"].count(visual) == energy_rank(content, cut)
        assert made["coverage"].count(visual) == coverage_count(content, cut)
        assert made["rank"].count(visual) == max(1, round(cut * effective_rank(content)))
    other = visual.embeddings.masked_fill(visual.newline[:, None], 100.0)
    assert AutoBudget(threshold=0.6, floor=1).count(visual.with_embeddings(other)) == coverage_count(content, 0.6)


def test_a_count_is_never_below_its_floor_nor_above_its_ceiling():
    alike = placeless(n=40).with_embeddings(torch.ones(40, 8))
    different = placeless(n=8, d=40).with_embeddings(torch.eye(40)[:8])
    for rule in ("rank", "energy", "coverage"):
        assert AutoBudget(rule=rule, floor=0.25).count(alike) == 10
        assert AutoBudget(rule=rule, floor=7).count(alike) == 7
        assert AutoBudget(rule=rule, floor=100).count(alike) == 40
        assert AutoBudget(rule=rule, threshold=1.0, ceiling=0.5).count(different) == 4
        assert AutoBudget(rule=rule, threshold=1.0, floor=1, ceiling=3).count(different) == 3
        assert AutoBudget(rule=rule, threshold=1.0, floor=6, ceiling=0.25).count(different) == 6  # the floor holds


def test_tokens_that_are_all_newlines_have_their_floor():
    visual = anyres()
    only = visual.take(visual.newline.nonzero().flatten())
    assert AutoBudget(floor=2).count(only) == 2
