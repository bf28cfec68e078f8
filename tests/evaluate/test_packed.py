"""Questions that stand side by side behind their picture get the answers that they get alone."""

from itertools import pairwise

import pytest
import torch
from played import ASKED

import todre
from todre.evaluate import group_answers as asking
from todre.evaluate import packed_questions as packed
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.group_answers import Asker
from todre.evaluate.probes import DropAfter
from todre.methods.prumerge import PruMerge
from todre.methods.random_deep import RandomDeep
from todre.methods.tome import ToMe

METHODS = {
    "all": todre.NoPruning(),
    "one count": todre.ToDRE(retain=0.3, stages=(1,)),
    "many counts": PruMerge(),
    "in the tower": ToMe(retain=0.5),
    "fewer in deep layers": RandomDeep(retain=0.2, layer=2),
    "none in deep layers": DropAfter(layer=3),
    "fewer, then fewer": todre.Compose(todre.ToDRE(retain=0.5, stages=(1,)), RandomDeep(retain=0.1, layer=2)),
    "moved": todre.ToDRE(retain=0.3, stages=(1,), positions="compact"),
}


@pytest.fixture(scope="module")
def groups():
    items = ASKED.items()
    return [[items[place] for place in places] for places in grouped(items, 4)]


@pytest.mark.parametrize("name", METHODS)
def test_every_answer_is_that_of_rows_of_their_own(groups, loaded, monkeypatch, name):
    condition, calls = Condition("c", METHODS[name]), []
    monkeypatch.setattr(packed, "decode", lambda *args, real=packed.decode: calls.append(1) or real(*args))
    together, _ = Asker(loaded, groups, 8).answer(0, condition)
    assert bool(calls) == (name != "moved")
    monkeypatch.setattr(Asker, "_packed", lambda self, *args: None)
    assert Asker(loaded, groups, 8).answer(0, condition)[0] == together
    monkeypatch.setattr(asking, "can_share", lambda method, depth: False)
    monkeypatch.setattr(Asker, "_beginnings", lambda self, *args: None)
    assert Asker(loaded, groups, 8).answer(0, condition)[0] == together


def test_finished_answers_take_no_further_part(groups, loaded, monkeypatch):
    owners = []

    def run(model, columns, *rest, real=packed._run):
        owners.append(columns.owner)
        return real(model, columns, *rest)

    monkeypatch.setattr(packed, "_run", run)
    asker = Asker(loaded, groups, 8)
    replies, _ = asker.answer(0, Condition("c", todre.NoPruning()))
    asked = [set(each[each >= 0].tolist()) for each in owners]
    assert asked[0] == set(range(len({(item.picture, item.question) for item in groups[0]})))
    assert all(later <= earlier for earlier, later in pairwise(asked))
    assert asked[-1] < asked[0]
    assert len(replies) == len(groups[0])


def test_a_checkpoint_with_rules_of_its_own_is_left_to_generate(loaded, monkeypatch):
    assert packed.plain(loaded.model)
    monkeypatch.setattr(loaded.model.generation_config, "repetition_penalty", 1.3)
    assert not packed.plain(loaded.model)


@pytest.mark.parametrize("method", [todre.NoPruning(), todre.FastV(retain=0.3, layer=2)])
def test_attention_without_such_masks_gets_rows_of_their_own(groups, loaded, monkeypatch, method):
    expected, _ = Asker(loaded, groups, 8).answer(0, Condition("c", method))
    calls = []
    monkeypatch.setattr(packed, "decode", lambda *args: calls.append(1))
    monkeypatch.setattr(asking.Beginnings, "of", lambda *args: calls.append(1))
    loaded.model.set_attn_implementation("eager")
    try:
        assert Asker(loaded, groups, 8).answer(0, Condition("c", method))[0] == expected
    finally:
        loaded.model.set_attn_implementation("sdpa")
    assert calls == []


def test_a_column_sees_its_picture_and_its_own_question():
    valid = torch.tensor([[False, True]])
    owners = torch.tensor([[0, 0, 1, -1, 0, 1]])
    assert packed.visible(valid, owners, 4)[0, 0].tolist() == [
        [False, True, True, True, False, False, True, False],
        [False, True, False, False, True, False, False, True],
    ]
