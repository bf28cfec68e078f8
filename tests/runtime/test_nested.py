"""A model that is called again inside its own forward, as from a user's hook: each forward is its own."""

from __future__ import annotations

import pytest
import tinymodels as tm
import torch

import todre
from todre.errors import UnsupportedInputError
from todre.methods import registry

METHODS = {
    "stage-1": todre.ToDRE(retain=0.3, stages=(1,)),
    "both": todre.ToDRE(retain=0.4, threshold=1.0, layers=(3,)),
    "compact": todre.ToDRE(retain=0.3, stages=(1,), positions="compact"),
    "fastv": todre.FastV(layer=2, retain=0.5),
}
PLACES = {
    "tower": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "decoder": "model.language_model",
    "layer": "model.language_model.layers.2",
    "mlp": "model.language_model.layers.2.mlp",
    "late layer": "model.language_model.layers.6",
}


def asked(model):
    """By name, what is run inside: text, another picture, the decoder by itself, and `generate`."""
    text = tm.batch(model, [tm.sample(model, 9, [], 4, seed=8)])
    picture = tm.batch(model, [tm.sample(model, 3, [tm.SIZES[2]], 5, seed=9)])
    embeds = model.get_input_embeddings()(text["input_ids"])
    return {
        "text": lambda: model(**text).logits,
        "picture": lambda: model(**picture).logits,
        "decoder": lambda: model.model.language_model(inputs_embeds=embeds).last_hidden_state,
        "generate": lambda: model.generate(**picture, max_new_tokens=3, do_sample=False),
    }


EVERYWHERE = [(what, place) for what in ("picture", "text") for place in sorted(PLACES)]
LATER = [(what, place) for what in ("generate", "decoder") for place in ("layer", "late layer", "mlp")]


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize(("what", "place"), EVERYWHERE + LATER)
@torch.no_grad()
def test_a_forward_within_a_forward_changes_nothing(what, place, name):
    model = tm.build("llava")
    inputs = tm.ragged(model)
    inner = asked(model)[what]
    found = []

    def again(*args):
        if not found:
            found.append(None)
            found[0] = inner()

    with todre.prune(model, METHODS[name]) as report:
        expected, other = model(**inputs).logits, inner()
        model(**inputs)
        reply = report.to_dict()
        handle = model.get_submodule(PLACES[place]).register_forward_pre_hook(again)
        got = model(**inputs).logits
        handle.remove()
        after = report.to_dict()
        assert torch.equal(model(**inputs).logits, expected)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0], other, atol=1e-6, rtol=0)
    for once in ("select_seconds", "prefills"):
        del reply[once], after[once]
    assert after == reply


@torch.no_grad()
def test_a_decoder_that_is_called_while_a_prompt_is_on_its_way_to_it_is_refused():
    """Nobody could tell whose call it is."""
    model = tm.build("llava")
    inner = asked(model)["decoder"]

    def again(*args):
        handle.remove()
        inner()

    handle = model.model.language_model.register_forward_pre_hook(again)
    with todre.prune(model, METHODS["both"]), pytest.raises(UnsupportedInputError, match="on its way"):
        model(**tm.ragged(model))


@torch.no_grad()
def test_a_forward_within_a_reduced_tower_is_its_own():
    model = tm.build("llava")
    inputs = tm.ragged(model)
    inner = asked(model)["picture"]
    found = []

    def again(*args):
        if not found:
            found.append(None)
            found[0] = inner()

    with todre.prune(model, registry.create("tome", retain=0.5)):
        expected, other = model(**inputs).logits, inner()
        handle = model.model.language_model.layers[1].register_forward_pre_hook(again)
        assert torch.equal(model(**inputs).logits, expected)
        handle.remove()
    assert torch.equal(found[0], other)
