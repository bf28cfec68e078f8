"""Automatic budgets in a request to the server, and in a chat."""

from __future__ import annotations

import pytest

import todre
from todre.chat.session import parse_retain
from todre.errors import InvalidValueError
from todre.methods.auto_budget import AutoBudget
from todre.serve.method_choice import MethodChoice
from todre.serve.refusals import RefusedError


def test_a_request_can_ask_for_an_automatic_budget():
    choice = MethodChoice(method=todre.ToDRE(retain=0.2), retain=0.2)
    assert choice.of({"retain": "auto"}) == todre.ToDRE(retain=AutoBudget())
    named = choice.of({"retain": {"rule": "energy", "floor": 9}, "method": "divprune"})
    assert named == todre.DivPrune(retain=AutoBudget(rule="energy", floor=9))
    assert choice.of({"method": "divprune"}).retain == 0.2
    automatic = MethodChoice(method=todre.ToDRE(retain="auto"), retain=AutoBudget())
    assert automatic.of({"method": "divprune"}).retain == AutoBudget()


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"retain": "auto", "method": "fastv"}, r"FastV\.retain must be a fraction"),
        ({"retain": "auto-far"}, r"There is no automatic budget 'auto-far'"),
        ({"retain": "much"}, r"todre\.retain must be 'auto', a fraction"),
    ],
)
def test_what_a_request_cannot_have_is_one_sentence(wishes, words):
    with pytest.raises(RefusedError, match=rf"^{words}.*\.$"):
        MethodChoice(method=todre.ToDRE()).of(wishes)


def test_a_chat_takes_the_same_words():
    assert parse_retain("auto") == AutoBudget()
    assert parse_retain("auto-coverage-0.7") == AutoBudget(threshold=0.7)
    assert parse_retain("0.25") == 0.25
    with pytest.raises(InvalidValueError, match="There is no automatic budget 'auto-far'"):
        parse_retain("auto-far")
    with pytest.raises(InvalidValueError, match="is not a number"):
        parse_retain("much")
