"""Under every method a question in a group gets the answer, and keeps the tokens, that it gets alone."""

from __future__ import annotations

import pytest
from played import ASKED

import todre
from todre.errors import TodreError
from todre.evaluate import group_answers as asking
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.group_answers import Asker
from todre.methods import registry

READ_FIRST = ("cdpruner", "mmtok")
"""Methods whose choice before the LLM depends on the question."""


@pytest.fixture(scope="module")
def groups():
    items = ASKED.items()
    return [[items[place] for place in places] for places in grouped(items, 4)]


@pytest.fixture(scope="module")
def alone(groups, loaded):
    """alone(condition) → the answers of whole prompts, each in a batch of its own."""

    def answered(condition):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asking, "_ENCODED_APART", ())
            return Asker(loaded, groups, 1).answer(0, condition)[0]

    return answered


def method_of(name):
    known = registry.entry(name).settings
    return registry.create(name, **({"retain": 0.15} if "retain" in known and name != "none" else {}))


def compared(loaded, groups, alone, condition):
    """The answers of the group; raises unless they are those of questions alone."""
    try:
        expected = alone(condition)
    except TodreError as refused:
        with pytest.raises(type(refused)):
            Asker(loaded, groups, 8).answer(0, condition)
        return None
    found = Asker(loaded, groups, 8).answer(0, condition)[0]
    assert found == expected
    return found


@pytest.mark.parametrize("name", registry.names())
def test_answers_in_a_group_are_those_of_questions_alone(groups, loaded, alone, name):
    method = method_of(name)
    reads = any("text" in each.card.needs for each in method.selectors())
    assert reads == (name in READ_FIRST)
    compared(loaded, groups, alone, Condition(name, method))


@pytest.mark.parametrize("name", READ_FIRST)
def test_what_a_question_decides_is_decided_for_each(groups, loaded, alone, name):
    """Few tokens of pictures with several questions, alone and before what acts inside the decoder."""
    for method in (
        registry.create(name, retain=4),
        todre.Compose(registry.create(name, retain=12), todre.FastV(retain=0.5, layer=2)),
    ):
        assert asking.asks_first(method)
        assert compared(loaded, groups, alone, Condition("c", method))
