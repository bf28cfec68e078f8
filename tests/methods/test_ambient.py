"""Every method keeps the same tokens and logits, whatever the process's state."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass, replace

import ambient
import pytest
import torch
from families.prompts import batch, ragged, words
from families.specimens import model_of
from glimpse.making import trained_for
from methods import matrix

import todre
from todre.methods import registry
from todre.methods.glimpse.weights import save_trained
from todre.methods.glimpseprune import GlimpsePrune
from todre.methods.views.decoder_layer import ReduceContext

TOLERANCE = 1e-5
NAMES = [name for name in registry.names() if name != "none"]
FAMILIES = (matrix.NEXT, matrix.QWEN, "llava_next_video")
NO_DEFAULT_DEVICE = {matrix.QWEN}
"""Families whose untouched models need the default device to be their own."""


def is_for(name, family):
    """True if the method is tried on the family: clip methods on clips."""
    if name in ("evs", "vidcom2") or family == "llava_next_video":
        return name in ("evs", "vidcom2") and family == "llava_next_video"
    return name == "glimpseprune" or family not in matrix.REFUSED.get(name, ())


CASES = [(name, family) for family in FAMILIES for name in NAMES if is_for(name, family)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Factory of methods as the matrix runs them, with weights where needed."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name, family, model):
        if name != "glimpseprune":
            return matrix.method_of(name)
        path = folder / f"{family}.safetensors"
        save_trained(path, trained_for(model))
        return GlimpsePrune(cap=0.3, least=2, threshold=0.4, weights=str(path))

    return make


class Setup:
    """A model, a batch of three rows of which one has no picture, and a text prompt."""

    def __init__(self, family):
        self.specimen, self.model = matrix.specimen_of(family), model_of(family, "sdpa")
        prompts = ragged(self.specimen, self.model, "video" if family == "llava_next_video" else "image")
        self.inputs = batch(self.specimen, self.model, prompts)
        self.alone = batch(self.specimen, self.model, prompts[:1])
        del self.alone["attention_mask"]  # nothing is padded
        self.more = words(1, 77)[None]

    def ran(self):
        """Logits of the batch, and of a step on the cache of the text prompt."""
        return torch.cat([self._together(), self._step()])

    def pruned(self, method):
        """Kept tokens of the batch by layer, and logits as in `ran`."""
        with todre.prune(self.model, method) as report:
            together = self._together()
            kept = report.kept_from_layer
            return kept, torch.cat([together, self._step()])

    def _together(self):
        return self.model(**self.inputs, use_cache=True).logits[self.inputs["attention_mask"].bool()]

    def _step(self):
        cache = self.model(**self.alone, use_cache=True).past_key_values
        return self.model(input_ids=self.more, past_key_values=cache).logits[:, -1]


@torch.no_grad()
@pytest.mark.parametrize(("name", "family"), CASES)
def test_whatever_the_state(name, family, made):
    setup = Setup(family)
    method = made(name, family, setup.model)
    kept, logits = setup.pruned(method)
    states = ambient.states(setup.model)
    if family in NO_DEFAULT_DEVICE:
        del states["device"]
    random = torch.get_rng_state()
    for state, here in states.items():
        with here:
            got, theirs = setup.pruned(method)
        assert got == kept, state
        torch.testing.assert_close(theirs, logits, atol=TOLERANCE, rtol=0, msg=lambda text, at=state: f"{at}: {text}")
    assert torch.equal(torch.get_rng_state(), random)


ANSWERS = ("select", "reduce", "rejoin", "merge", "leave_out", "choose_tiles")


def record_answers(method, patch):
    """Record (function, method, question, answer) of each answer from now on."""
    found = []
    classes = {cls for one in _within(method) for cls in type(one).__mro__}
    for cls, name in [(cls, name) for cls in classes for name in ANSWERS if name in vars(cls)]:
        patch.setattr(cls, name, _recording(vars(cls)[name], found))
    return found


def _within(method):
    """The method, and the methods it is composed of."""
    return [method, *(one for part in getattr(method, "methods", ()) for one in _within(part))]


def _recording(original, found):
    def answer(self, question):
        if isinstance(question, ReduceContext):
            lazy = {name: functools.cache(getattr(question, name)) for name in ("peek", "look", "angles")}
            question = replace(question, **lazy)
        given = original(self, question)
        found.append((original, self, question, given))
        return given

    return answer


@torch.no_grad()
@pytest.mark.parametrize(("name", "family"), CASES)
def test_autocast_changes_no_answer(name, family, made, monkeypatch):
    """A method gets the same answer outside autocast, bit for bit.

    The model runs under autocast, with other numbers.
    """
    setup = Setup(family)
    method = made(name, family, setup.model)
    found = record_answers(method, monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = setup.pruned(method)[1]
    assert logits.dtype == torch.bfloat16
    assert found
    for original, one, question, given in list(found):
        assert same(original(one, question), given)


def same(one, other):
    """True if two answers are equal in every part."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return same(tuple(one.items()), tuple(other.items()))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_models_themselves_are_the_same_in_these_states(family):
    """Without this they would be no reference."""
    setup = Setup(family)
    logits = setup.ran()
    for state, here in ambient.states(setup.model).items():
        if state != "device" or family not in NO_DEFAULT_DEVICE:
            with here:
                assert torch.equal(setup.ran(), logits), state
