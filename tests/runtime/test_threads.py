"""Several threads attach, run and detach on the same models: no raw error, no wrong answer, no trace at the end."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
import tinymodels as tm
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import todre
from todre.errors import TodreError
from todre.runtime import attachment
from todre.runtime.decoder_forward import DecoderForward

SECONDS = float(os.environ.get("TODRE_THREADS_SECONDS", "6"))
"""A minute shows more: TODRE_THREADS_SECONDS=60."""

METHODS = [
    todre.ToDRE(retain=0.2, threshold=1.0),
    todre.ToDRE(retain=0.3, stages=(1,), pivot="received"),
    todre.ToDRE(retain=0.4, stages=(2,), threshold=1.0),
    todre.FastV(layer=2, retain=0.5),
]


def traces(model):
    """What attaching could leave behind."""
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    return {
        name: (sorted(vars(module)), [len(getattr(module, kind)) for kind in hooks])
        for name, module in model.named_modules()
    }


@torch.no_grad()
def answer(model, inputs):
    return model(**inputs, use_cache=False).logits[:, -1]


class Player:
    """What one thread does until time is up."""

    def __init__(self, models, inputs, right):
        self.models, self.inputs, self.right = models, inputs, right
        self.wrong, self.raw, self.pruned, self.refused = [], [], 0, 0

    def play(self, seed, until):
        chance = random.Random(seed)
        while time.monotonic() < until:
            index = chance.randrange(len(self.models))
            try:
                if chance.random() < 0.5:
                    self.run(index)
                else:
                    self.attached(index, chance.choice(METHODS))
            except BaseException as error:
                self.raw.append(repr(error))

    def run(self, index):
        """Whatever others do to the model meanwhile, an answer is one of those that are right."""
        found = answer(self.models[index], self.inputs[index])
        if not any(torch.allclose(found, one, atol=1e-5, rtol=0) for one in self.right[index]):
            self.wrong.append(index)

    def attached(self, index, method):
        try:
            report = todre.attach(self.models[index], method)
        except TodreError:  # another was first
            self.refused += 1
            return
        try:
            self.run(index)
            str(report)
            report.to_dict()
            self.pruned += 1
        finally:
            todre.detach(self.models[index])


def test_eight_threads_on_two_models():
    models = [tm.build("next-llama"), tm.build("llava")]
    inputs = [tm.ragged(model) for model in models]
    right = []
    for model, given in zip(models, inputs, strict=True):
        answers = [answer(model, given)]
        for method in METHODS:
            with todre.prune(model, method):
                answers.append(answer(model, given))
        right.append(answers)
    before = [traces(model) for model in models]
    backends = dict(ALL_ATTENTION_FUNCTIONS._local_mapping), dict(type(ALL_ATTENTION_FUNCTIONS)._global_mapping)
    players = [Player(models, inputs, right) for _ in range(8)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=each.play, args=(seed, until)) for seed, each in enumerate(players)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=SECONDS + 60)
    assert not [each for each in threads if each.is_alive()], "a thread waits for ever"
    assert [error for each in players for error in each.raw] == []
    assert [index for each in players for index in each.wrong] == []
    assert sum(each.pruned for each in players) > 0
    assert [traces(model) for model in models] == before
    after = dict(ALL_ATTENTION_FUNCTIONS._local_mapping), dict(type(ALL_ATTENTION_FUNCTIONS)._global_mapping)
    assert after == backends
    for model, given, answers in zip(models, inputs, right, strict=True):
        assert torch.equal(answer(model, given), answers[0])


@pytest.mark.parametrize("name", ["next-llama", "llava"])
def test_a_forward_that_began_while_patches_were_being_put_in_stays_unpruned(name, monkeypatch):
    """It encodes its pictures when only some patches are in place, and decodes when all are."""
    model = tm.build(name)
    inputs = tm.ragged(model)
    expected = answer(model, inputs)
    begun, encode, encoded, decode, found = *(threading.Event() for _ in range(4)), []

    def run():
        try:
            found.append(answer(model, inputs))
        except TodreError as error:
            found.append(error)

    def pause(*args):
        begun.set()
        assert encode.wait(30)

    def placed(*args, **kwargs):
        encoded.set()
        assert decode.wait(30)
        return type(model.model).get_placeholder_mask(model.model, *args, **kwargs)

    def between(**kwargs):
        encode.set()
        assert encoded.wait(30)
        return DecoderForward(**kwargs)

    handle = model.get_input_embeddings().register_forward_pre_hook(pause)
    monkeypatch.setattr(model.model, "get_placeholder_mask", placed)
    monkeypatch.setattr(attachment, "DecoderForward", between)
    runner = threading.Thread(target=run)
    runner.start()
    assert begun.wait(30)
    todre.attach(model, METHODS[0])
    decode.set()
    runner.join(30)
    handle.remove()
    todre.detach(model)
    assert len(found) == 1
    assert not isinstance(found[0], TodreError), found[0]
    assert torch.equal(found[0], expected)


def test_detaching_waits_for_a_forward_that_is_under_way():
    """The forward ends as it began, pruned; the model is untouched only then."""
    model = tm.build()
    inputs = tm.ragged(model)
    with todre.prune(model, METHODS[0]):
        expected = answer(model, inputs)
    inside, go, found = threading.Event(), threading.Event(), []

    def slow(*args):
        inside.set()
        assert go.wait(30)

    handle = model.get_decoder().layers[5].mlp.register_forward_pre_hook(slow)
    todre.attach(model, METHODS[0])
    runner = threading.Thread(target=lambda: found.append(answer(model, inputs)))
    runner.start()
    assert inside.wait(30)
    leaver = threading.Thread(target=todre.detach, args=(model,))
    leaver.start()
    leaver.join(0.2)
    assert leaver.is_alive()
    with pytest.raises(TodreError, match="already being pruned"):
        todre.attach(model, METHODS[1])
    with pytest.raises(TodreError, match="not being pruned"):
        todre.detach(model)
    go.set()
    runner.join(30)
    leaver.join(30)
    handle.remove()
    assert torch.equal(found[0], expected)
    assert "forward" not in vars(model)


def test_an_interrupted_wait_leaves_the_model_attached():
    """As after Ctrl-C: forwards are pruned as before, and the model can be detached."""
    model = tm.build()
    todre.attach(model, METHODS[0])
    forwards = getattr(model, attachment.ATTRIBUTE).forwards
    inside, go = threading.Event(), threading.Event()

    def other():
        forwards.join()
        inside.set()
        assert go.wait(30)
        forwards.leave()

    runner = threading.Thread(target=other)
    runner.start()
    assert inside.wait(30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Condition, "wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            todre.detach(model)
    assert forwards.join()
    forwards.leave()
    go.set()
    runner.join(30)
    todre.detach(model)
    assert "forward" not in vars(model)


PLACES = {
    "model": "",
    "base": "model",
    "tower": "model.vision_tower",
    "tower layer": "model.vision_tower.encoder.layers.1",
    "projector": "model.multi_modal_projector",
    "decoder": "model.language_model",
    "decoder layer": "model.language_model.layers.1",
}


@pytest.mark.parametrize(
    "method", [METHODS[0], todre.methods.registry.create("tome", retain=0.5)], ids=["todre", "tome"]
)
@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("thread", [False, True])
def test_a_forward_that_began_before_an_attach_ends_one_way_or_the_other(place, method, thread):
    """Wherever it is, it is pruned as a whole or not at all, and never refused."""
    model = tm.build("llava")
    inputs = tm.ragged(model)
    untouched = answer(model, inputs)
    with todre.prune(model, method):
        pruned = answer(model, inputs)
    attached = []

    def attach(*args):
        if not attached:
            attached.append(todre.attach(model, method))

    def elsewhere(*args):
        other = threading.Thread(target=attach)
        other.start()
        other.join(30)

    handle = model.get_submodule(PLACES[place]).register_forward_pre_hook(elsewhere if thread else attach)
    found = answer(model, inputs)
    handle.remove()
    assert attached
    near = [torch.allclose(found, one, atol=1e-5, rtol=0) for one in (untouched, pruned)]
    assert any(near)
    assert near[0] or place == "model"
    assert torch.allclose(answer(model, inputs), pruned, atol=1e-5, rtol=0)
    todre.detach(model)
    assert torch.equal(answer(model, inputs), untouched)


def test_a_forward_may_detach_its_own_model():
    """As from a callback of `generate`: nobody waits for himself."""
    model = tm.build()
    inputs = tm.ragged(model)
    untouched = answer(model, inputs)
    todre.attach(model, METHODS[1])
    handle = model.get_decoder().layers[5].mlp.register_forward_pre_hook(lambda *_: todre.detach(model))
    answer(model, inputs)
    handle.remove()
    assert torch.equal(answer(model, inputs), untouched)
