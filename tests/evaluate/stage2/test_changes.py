"""Answers from states that are kept are those of whole prompts on a model that was really changed."""

import copy

import pytest
import torch
from played import ASKED

import todre
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.group_answers import Asker
from todre.evaluate.probes import DropAfter, first_layers
from todre.evaluate.stage2.changes import Change, changes_at
from todre.evaluate.stage2.pictures import alike, asked, merged, shown_pictures
from todre.hf.model_parts import decoder_module
from todre.methods.vtw import VTW

DEPTH = 4


@pytest.fixture(scope="module")
def items():
    found = ASKED.items()
    return [found[place] for place in grouped(found, 4)[0]]


def texts(loaded, items, change=None, method=None, grey=False):
    """Answers by the study's own runs, in the order of the items."""
    said = {}
    for pictures in alike(merged(shown_pictures(loaded, items, grey)), 3):
        one = asked(loaded.model, pictures, method or todre.NoPruning(), range(DEPTH) if method is None else ())
        tokens = one.whole if change is None else one.changed(change)
        places = [place for picture in pictures for place in picture.places]
        said |= dict(
            zip(places, loaded.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True)
        )
    return [said[place].strip() for place in range(len(items))]


def generated(loaded, items, model=None, method=None):
    """Answers by `generate`, one whole prompt after the other."""
    model = model or loaded.model
    found = []
    for item in items:
        talk = [{"type": "image", "image": item.media[0]()}, {"type": "text", "text": item.question}]
        inputs = loaded.processor.apply_chat_template(
            [{"role": "user", "content": talk}], tokenize=True, return_dict=True, return_tensors="pt",
            add_generation_prompt=True,
        )  # fmt: skip
        with todre.prune(model, method or todre.NoPruning()):
            tokens = model.generate(**inputs, max_new_tokens=item.new_tokens, do_sample=False)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        found.append(loaded.processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    return found


def test_the_whole_model_answers_as_it_does_alone(loaded, items):
    said = texts(loaded, items)
    assert said == generated(loaded, items)
    assert len(set(said)) > 3


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_picture_that_leaves_after_a_layer_is_really_gone(loaded, items, layer):
    said = texts(loaded, items, Change("drop", layer))
    assert said == generated(loaded, items, method=VTW(layer=layer))
    assert said == [
        reply[0] for reply in Asker(loaded, [items], 8).answer(0, Condition("c", DropAfter(layer=layer)))[0]
    ]
    assert said != texts(loaded, items)


@pytest.mark.parametrize("layer", [1, 3])
def test_layers_after_a_layer_are_really_deleted(loaded, items, layer):
    said = texts(loaded, items, Change("delete", layer))
    with first_layers(loaded.model, layer):
        assert said == generated(loaded, items)


@pytest.mark.parametrize("layer", [1, 2, 4])
def test_a_skipped_layer_is_as_one_that_the_model_never_had(loaded, items, layer):
    shorter = copy.deepcopy(loaded.model)
    decoder = decoder_module(shorter)
    del decoder.layers[layer - 1]
    decoder.config.num_hidden_layers = DEPTH - 1
    for index, each in enumerate(decoder.layers):
        each.self_attn.layer_idx = index
    assert texts(loaded, items, Change("skip", layer)) == generated(loaded, items, shorter)


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_a_hidden_picture_is_hidden_in_one_layer_from_text_alone(loaded, items, layer):
    image_token = loaded.model.config.image_token_id
    module = decoder_module(loaded.model).layers[layer - 1]
    state = {}

    def hide(module, args, kwargs):
        """Hide visual keys from the columns behind the picture; in decoding, from the one column that runs."""
        queries, keys = args[0].shape[1], kwargs["position_ids"].max() + 1
        mask = torch.ones(queries, int(keys), dtype=torch.bool).tril(int(keys) - queries)
        ids = state["ids"]
        behind = torch.arange(int(keys) - queries, int(keys)) > int((ids == image_token).nonzero().max())
        visual = torch.nn.functional.pad(ids == image_token, (0, int(keys) - len(ids)))
        mask[behind.nonzero(), visual.nonzero().flatten()] = False
        return args, kwargs | {"attention_mask": mask[None, None]}

    def note(module, args, kwargs):
        ids = kwargs["input_ids"]
        if ids.shape[1] > 1:
            state["ids"] = ids[0]

    handles = [
        module.register_forward_pre_hook(hide, with_kwargs=True),
        loaded.model.register_forward_pre_hook(note, with_kwargs=True),
    ]
    try:
        expected = generated(loaded, items)
    finally:
        for handle in handles:
            handle.remove()
    said = texts(loaded, items, Change("hide", layer))
    assert said == expected
    assert said != texts(loaded, items)


@pytest.mark.parametrize("retain", [0.25, 0.1])
@pytest.mark.parametrize("make", [todre.ToDRE, todre.ToDRE.v1])
def test_stage_one_comes_before_a_drop(loaded, items, make, retain):
    method = make(retain=retain, stages=(1,))
    assert texts(loaded, items, method=method) == generated(loaded, items, method=method)
    both = todre.Compose(method, VTW(layer=2))
    assert texts(loaded, items, Change("drop", 2), method=method) == generated(loaded, items, method=both)


def test_grey_pictures_of_one_size_run_once(loaded, items):
    pictures = shown_pictures(loaded, items, grey=True)
    assert len(merged(pictures)) == 1 < len(pictures)
    assert texts(loaded, items, grey=True) != texts(loaded, items)


def test_a_layer_outside_the_decoder_is_refused():
    assert [change.name for change in changes_at("drop", [3, 1, 3], DEPTH)] == ["drop-1", "drop-3"]
    assert changes_at("skip", [4], DEPTH)[0].gone(DEPTH) == {3}
    for kind, layer in (("drop", 4), ("delete", 4), ("hide", 5), ("skip", 0)):
        with pytest.raises(InvalidValueError, match=f"{kind} at layer {layer}"):
            changes_at(kind, [layer], DEPTH)


def test_methods_that_keep_different_numbers_are_refused(loaded, items):
    from todre.methods.prumerge import PruMerge

    pictures = next(alike(shown_pictures(loaded, items), 4))
    with pytest.raises(UnsupportedInputError, match="different numbers of visual tokens"):
        asked(loaded.model, pictures, PruMerge())
