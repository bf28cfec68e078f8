"""Sharing the beginnings of prompts in the first layers changes no answer, whoever looks at the question further in."""

import gc
import weakref

import pytest
from played import ASKED

import todre
from todre.evaluate import group_answers as asking
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.group_answers import Asker
from todre.evaluate.selection_cache import remembering
from todre.evaluate.shared_prefill import Store, untouched
from todre.methods.auto_budget import AutoBudget
from todre.methods.pyramiddrop import PyramidDrop

METHODS = {
    "attention after two layers": todre.FastV(retain=0.3, layer=2),
    "attention after the last but one": todre.FastV(retain=0.3, layer=3),
    "a look at the next layer": PyramidDrop(retain=0.4),
    "stage 2 alone": todre.ToDRE(stages=(2,), layers=(3,), threshold=0.9),
    "chosen before": todre.ToDRE(retain=0.3, layers=(3,), threshold=0.9),
    "chosen before, first layer": todre.ToDRE(retain=0.3, layers=(1,), threshold=0.9),
}


@pytest.fixture(scope="module")
def groups():
    items = ASKED.items()
    return [[items[place] for place in places] for places in grouped(items, 4)]


@pytest.mark.parametrize("name", METHODS)
def test_every_answer_is_that_of_running_prompts_whole(groups, loaded, monkeypatch, name):
    condition, ran = Condition("c", METHODS[name]), []
    layer = loaded.model.get_decoder().layers[0]
    handle = layer.mlp.up_proj.register_forward_pre_hook(lambda module, args: ran.append(args[0].shape[:2].numel()))
    try:
        asker = Asker(loaded, groups, 8)
        shared, _ = asker.answer(0, condition)
        few = sum(ran)
        again, _ = asker.answer(0, condition)
        with monkeypatch.context() as patch:
            patch.setattr(asking.Asker, "_beginnings", lambda self, *args: None)
            patch.setattr(asking, "remembering", lambda method: method)
            ran.clear()
            whole, _ = Asker(loaded, groups, 8).answer(0, condition)
    finally:
        handle.remove()
    assert shared == whole == again
    assert "forward" not in vars(layer)
    assert few < 0.7 * sum(ran)


@pytest.mark.parametrize("size", [2, 8])
def test_prefixes_of_different_lengths_share_nothing_wrong(groups, loaded, monkeypatch, size):
    """An automatic budget keeps another number of tokens of each picture, so that rows are padded."""
    for layers in ((1,), (3,)):
        method = todre.ToDRE(retain=AutoBudget(threshold=0.6, floor=2, text=None), layers=layers, threshold=0.9)
        found, _ = Asker(loaded, groups, size).answer(0, Condition("c", method))
        with monkeypatch.context() as patch:
            patch.setattr(asking.Asker, "_beginnings", lambda self, *args: None)
            patch.setattr(asking, "remembering", lambda method: method)
            whole, _ = Asker(loaded, groups, 1).answer(0, Condition("c", method))
        assert found == whole
        assert len({tokens for _, tokens, *_ in found}) > 1


@pytest.mark.parametrize("name", METHODS)
def test_what_was_shared_goes_with_its_group(groups, loaded, monkeypatch, name):
    """Without a collection: results of a group's pictures take gigabytes, and collections come by number of objects."""
    made = []

    def store():
        one = Store()
        made.append(weakref.ref(one))
        return one

    monkeypatch.setattr(asking, "Store", store)
    asker, condition = Asker(loaded, groups * 2, 8), Condition("c", METHODS[name])
    gc.collect()
    gc.disable()
    try:
        asker.answer(0, condition)
        first = list(made)
        asker.answer(1, condition)
        assert first
        assert all(each() is None for each in first)
    finally:
        gc.enable()


def test_layers_before_the_first_look():
    assert untouched(todre.FastV(retain=0.3, layer=2), 8) == (1, True)
    assert untouched(PyramidDrop(retain=0.4), 8)[1] is False
    assert untouched(todre.NoPruning(), 8) == (8, False)


def test_a_memory_chooses_once_and_the_same(loaded, groups, monkeypatch):
    asked = []
    monkeypatch.setattr(
        todre.ToDRE,
        "select",
        lambda self, visual, real=todre.ToDRE.select: asked.append(len(visual)) or real(self, visual),
    )
    method = todre.ToDRE(retain=0.3, layers=(3,))
    asker = Asker(loaded, groups, 2)
    remembered, _ = asker.answer(0, Condition("c", method))
    assert len(asked) == len(asker._groups[None].pixels)
    assert len(asker._groups[None].prompts) > len(asked)
    monkeypatch.setattr(asking, "remembering", lambda method: method)
    assert Asker(loaded, groups, 2).answer(0, Condition("c", method))[0] == remembered
    assert remembering(todre.FastV(retain=0.3)) == todre.FastV(retain=0.3)
