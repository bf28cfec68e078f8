"""What stood on a model before, what is put there meanwhile, copies of it, and reports that outlive a request."""

from __future__ import annotations

import copy
import functools
import gc
import io
import pickle
import warnings
import weakref

import pytest
import tinymodels as tm
import torch
from upstream import CACHE

import todre
from todre.errors import TodreError, UnprunedWarning, UnsupportedInputError
from todre.methods import registry

METHOD = todre.ToDRE(retain=0.2, threshold=1.0)
TOWER = registry.create("tome", retain=0.5)

PLACES = {
    "model": ("", "forward"),
    "base": ("model", "forward"),
    "decoder": ("model.language_model", "forward"),
    "layer": ("model.language_model.layers.3", "forward"),
    "rotary": ("model.language_model.rotary_emb", "forward"),
    "tower": ("model.vision_tower", "forward"),
    "tower-attention": ("model.vision_tower.encoder.layers.1.self_attn", "forward"),
    "pictures": ("model", "get_image_features"),
    "masks": ("", "create_masks_for_generate"),
    "copying": ("", "__deepcopy__"),
}


def owner_of(model, place):
    path, name = PLACES[place]
    return model.get_submodule(path), name


def wrapping(owner, name):
    """Something of the user's own, that calls what is there."""
    there = getattr(owner, name, None)
    if there is None:
        return lambda memo: "mine"
    return functools.partial(there)


def run(model):
    inputs = tm.ragged(model)
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=3, do_sample=False)


@pytest.mark.parametrize("method", [METHOD, TOWER], ids=["todre", "tome"])
@pytest.mark.parametrize("place", sorted(PLACES))
def test_what_stood_on_an_instance_stands_there_again(place, method):
    model = tm.build()
    owner, name = owner_of(model, place)
    mine = vars(owner)[name] = wrapping(owner, name)
    untouched = run(model)
    with todre.prune(model, method):
        run(model)
    assert vars(owner)[name] is mine
    assert torch.equal(run(model), untouched)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_what_is_put_on_an_instance_inside_the_block_stays(place):
    """It may call what it found there, todre's included, and then comes to the untouched model's own."""
    model = tm.build()
    untouched = run(model)
    owner, name = owner_of(model, place)
    with todre.prune(model, METHOD):
        mine = vars(owner)[name] = wrapping(owner, name)
        run(model)
    assert vars(owner)[name] is mine
    assert torch.equal(run(model), untouched)
    with todre.prune(model, METHOD) as report:
        run(model)
    assert report.visual_tokens_after < report.visual_tokens_before
    assert vars(owner)[name] is mine


WAYS = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": pickle.dumps,
    "torch.save": lambda model: torch.save(model, io.BytesIO()),
}


@pytest.mark.parametrize("part", ["", "model", "model.language_model"])
@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("method", [METHOD, TOWER], ids=["todre", "tome"])
def test_a_copy_of_an_attached_model_is_refused(way, part, method):
    """By one sentence, also of its parts and of what holds it; afterwards it can be copied as ever."""
    model = tm.build()
    copied = model.get_submodule(part)
    with todre.prune(model, method):
        for what in (copied,) if way == "copy" else (copied, {"model": copied}):
            with pytest.raises(UnsupportedInputError, match="being pruned cannot be copied"):
                WAYS[way](what)
    WAYS[way](copied)


def test_a_copy_made_after_the_block_answers_as_the_model(tmp_path):
    model = tm.build()
    with todre.prune(model, METHOD):
        pruned = run(model)
        model.save_pretrained(tmp_path)
        assert model.state_dict().keys() == tm.build().state_dict().keys()
    twin = copy.deepcopy(model)
    assert torch.equal(run(twin), run(model))
    with todre.prune(twin, METHOD):
        assert torch.equal(run(twin), pruned)


def state(model):
    """Attributes and hooks of every module; transformers adds some of its own in the first call."""
    return {
        name: (sorted(vars(module)), list(module._forward_pre_hooks), list(module._forward_hooks))
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("method", [METHOD, TOWER], ids=["todre", "tome"])
@pytest.mark.parametrize("ran", [False, True])
def test_a_model_is_freed_as_soon_as_nobody_uses_it(method, ran):
    """Nothing that was put on it keeps it, and with it a device's memory, until garbage is collected."""
    model = tm.build()
    gone = weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        with todre.prune(model, method) as report:
            if ran:
                run(model)
        del model
        assert gone() is None
    finally:
        gc.enable()
    assert report.prefills == int(ran)


class Hook:
    """As accelerate's: keeps what stood on an instance, and puts it back later."""

    def __init__(self, module):
        self.module, self.before = module, module.forward
        module.forward = functools.partial(self.before)

    def remove(self):
        self.module.forward = self.before


@pytest.mark.parametrize("place", ["model", "base", "decoder"])
@pytest.mark.parametrize("way", ["hook", "delete"])
def test_a_forward_that_is_taken_off_inside_the_block_is_noticed(place, way):
    """Pictures are pruned or refused, whatever somebody removes; the whole model's own stand-in is not needed."""
    model = tm.build()
    untouched = run(model)
    owner, name = owner_of(model, place)
    hook = Hook(owner) if way == "hook" else None
    with todre.prune(model, METHOD) as report:
        hook.remove() if hook else vars(owner).pop(name)
        if place == "model":
            run(model)
            assert report.visual_tokens_after < report.visual_tokens_before
        else:
            with pytest.raises(UnsupportedInputError, match=r"nothing was pruned|call the whole model"):
                run(model)
    assert torch.equal(run(model), untouched)


def test_a_decoder_that_is_replaced_inside_the_block_is_noticed():
    model = tm.build()
    other = tm.build(seed=1).model.language_model
    with todre.prune(model, METHOD):
        model.model.language_model = other
        with pytest.raises(UnsupportedInputError, match="nothing was pruned"):
            run(model)


@pytest.mark.parametrize("where", ["tower", "watch", "masks"])
def test_a_failed_attach_undoes_its_part(where, monkeypatch):
    """Whatever fails, and however late."""
    model = tm.build()
    untouched = run(model)
    before = state(model)

    def fail(*args, **kwargs):
        raise RuntimeError("on purpose")

    target = {
        "tower": "todre.tower.hooks.watch",
        "watch": "todre.tower.capture.watch",
        "masks": "todre.runtime.attachment.InstancePatch",
    }
    monkeypatch.setattr(target[where], fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        todre.attach(model, TOWER if where == "tower" else METHOD)
    monkeypatch.undo()
    assert state(model) == before
    assert torch.equal(run(model), untouched)
    todre.attach(model, METHOD)
    todre.detach(model)


@pytest.fixture
def served():
    model = tm.build("llava")
    report = todre.attach(model, METHOD)
    yield model, report
    todre.detach(model)


def text(model, rows=1):
    return tm.batch(model, [tm.sample(model, 9 + row, [], 4) for row in range(rows)])


@pytest.mark.parametrize("way", ["generate", "forward", "no cache"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_report_says_that_the_latest_request_had_no_picture(served, way, rows):
    model, report = served
    inputs = tm.ragged(model)
    model(**inputs)
    assert any(report.visual_tokens_before)
    asked = text(model, rows)
    if way == "generate":
        model.generate(**asked, max_new_tokens=3)
    else:
        model(**asked, use_cache=way == "forward")
    assert report.visual_tokens_before == report.visual_tokens_after == [0] * rows
    assert report.kept == [[]] * rows
    assert report.text_tokens == asked["attention_mask"].sum(dim=1).tolist()
    assert str(report).count("no visual tokens") == rows
    assert report.to_dict()["dropped_after_layer"] == [None] * rows
    model(**inputs)
    assert any(report.visual_tokens_before)


@pytest.mark.parametrize("way", ["generate", "forward", "no cache", "tuple"])
def test_a_report_is_of_the_latest_of_several_texts(served, way):
    """As many rows, other words."""
    model, report = served
    for words in (9, 4, 7):
        asked = tm.batch(model, [tm.sample(model, words, [], 4)])
        if way == "generate":
            model.generate(**asked, max_new_tokens=3)
        else:
            model(**asked, use_cache=way != "no cache", return_dict=way != "tuple")
        assert report.text_tokens == [words + 4]
        assert (report.kv_bytes[0] == 0) == (way == "no cache")


def test_a_report_of_text_counts_the_cache_of_a_base_that_answers_with_a_tuple(served):
    model, report = served
    model.model(**text(model), return_dict=True)
    expected = report.kv_bytes
    model.model(**text(model), return_dict=False)
    assert report.kv_bytes == expected != [0]


def test_steps_of_decoding_and_second_turns_leave_the_report_as_it_is(served):
    model, report = served
    out = model.generate(**tm.ragged(model), max_new_tokens=6, return_dict_in_generate=True)
    reply = report.to_dict()
    assert any(report.visual_tokens_before)
    model(input_ids=torch.full((len(out.sequences), 3), 9), **{CACHE: getattr(out, CACHE)})
    assert report.to_dict() == reply


@pytest.mark.parametrize("way", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("looked", [False, True])
def test_a_report_travels(served, way, looked):
    model, report = served
    fresh = way(report)
    assert fresh == report
    model(**tm.ragged(model))
    if looked:
        str(report.kept)
    taken = way(report)
    reply = report.to_dict()
    assert taken.to_dict() == reply
    model(**text(model))
    assert taken.to_dict() == reply  # it is that of its own request
    buffer = io.BytesIO()
    torch.save(taken, buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=False) == taken


def merged(model):
    """A prompt's embeddings with its picture in place, made by hand."""
    sample = tm.sample(model, 5, [(24, 24)], 5)
    ids = tm.token_ids(model, sample)[None]
    features = model.get_image_features(**tm.encode(model, sample.pictures), return_dict=True).pooler_output
    embeds = model.get_input_embeddings()(ids).clone()
    embeds[ids == tm.IMAGE] = torch.cat(list(features))
    return embeds.detach()


@pytest.mark.parametrize("way", ["decoder", "base", "model", "generate"])
def test_embeddings_merged_inside_the_block_are_refused(served, way):
    """Nobody can tell which of their columns are visual."""
    model, _ = served
    calls = {
        "decoder": model.model.language_model,
        "base": model.model,
        "model": model,
        "generate": functools.partial(model.generate, max_new_tokens=2),
    }
    embeds = merged(model)
    with pytest.raises(UnsupportedInputError, match=r"todre\.prune_embeddings"):
        calls[way](inputs_embeds=embeds)


@pytest.mark.parametrize("way", ["base", "model", "generate"])
def test_embeddings_merged_elsewhere_are_said_to_be_unpruned(way):
    model = tm.build("llava")
    embeds = merged(model)
    report = todre.attach(model, METHOD)
    calls = {"base": model.model, "model": model, "generate": functools.partial(model.generate, max_new_tokens=3)}
    with pytest.warns(UnprunedWarning, match="todre.prune_embeddings") as reply:
        calls[way](inputs_embeds=embeds)
    assert len(reply) == 1
    assert report.visual_tokens_before == [0]
    todre.detach(model)


def test_text_alone_is_not_warned_of(served):
    model, _ = served
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(**text(model, 2), max_new_tokens=3)


def test_every_error_of_an_attached_model_is_todres(served):
    model, _ = served
    with pytest.raises(TodreError, match="neither"):
        model.model.language_model()
