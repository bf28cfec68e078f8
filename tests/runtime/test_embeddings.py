"""Embeddings merged by hand and pruned come to the same as the model that is pruned while it merges them itself."""

from __future__ import annotations

import numpy as np
import pytest
import tinymodels as tm
import torch
from families.specimens import model_of
from families.zoo.specimen import Specimen

import todre
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods import registry

METHODS = {
    "todre": todre.ToDRE(retain=0.3, stages=(1,), pivot="random"),
    "todre-v1": todre.ToDRE.v1(retain=0.3, stages=(1,), pivot="random"),
    "compact": todre.ToDRE(retain=0.3, stages=(1,), pivot="random", positions="compact"),
    "divprune": registry.create("divprune", retain=5),
    "random": registry.create("random", retain=0.5),
    "per picture": todre.ToDRE(retain=0.3, stages=(1,), pivot="random", per="image"),
    "keep all": todre.ToDRE(retain=1.0, stages=(1,), pivot="random"),
}


def merged(model, inputs):
    """(b, q, d) embeddings with the pictures in place, and where those are."""
    visual = inputs["input_ids"] == tm.IMAGE
    pictures = {name: inputs[name] for name in ("pixel_values", "image_sizes") if name in inputs}
    features = model.get_image_features(**pictures, return_dict=True).pooler_output
    embeds = model.get_input_embeddings()(inputs["input_ids"]).masked_fill(visual[..., None], 0.0)
    return embeds.masked_scatter(visual[..., None], torch.cat(list(features))), visual


@pytest.fixture(params=["llava", "next-llama"])
def model(request):
    return tm.build(request.param)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", sorted(METHODS))
@torch.no_grad()
def test_a_decoder_on_pruned_embeddings_equals_the_pruned_model(model, name, side):
    """A ragged batch: of one picture, two pictures, and none."""
    method, inputs = METHODS[name], tm.ragged(model, side)
    mask = inputs["attention_mask"]
    places = tm.positions(mask)
    embeds, visual = merged(model, inputs)
    short = todre.prune_embeddings(method, embeds, visual, attention_mask=mask)
    got = model.model.language_model(
        inputs_embeds=short.embeddings, attention_mask=short.attention_mask, position_ids=short.position_ids
    ).last_hidden_state
    with todre.prune(model, method) as report:
        expected = model.model(**inputs, position_ids=places).last_hidden_state
    assert short.kept == report.kept
    for row in range(len(mask)):
        left = short.columns[row] >= 0
        columns = short.columns[row][left]
        assert torch.equal(left, short.attention_mask[row].bool())
        torch.testing.assert_close(got[row][left], expected[row][columns], atol=1e-5, rtol=0)
        assert torch.equal(visual[row][columns].sum(), torch.tensor(len(report.kept[row])))


@torch.no_grad()
def test_generate_goes_on_from_pruned_embeddings(model):
    inputs = tm.ragged(model)
    embeds, visual = merged(model, inputs)
    method = METHODS["todre"]
    short = todre.prune_embeddings(method, embeds, visual, attention_mask=inputs["attention_mask"])
    options = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    got = model.generate(inputs_embeds=short.embeddings, attention_mask=short.attention_mask, **options).logits[0]
    with todre.prune(model, todre.ToDRE(retain=0.3, stages=(1,), pivot="random", positions="compact")):
        expected = model.generate(**inputs, **options).logits[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_saliency_and_grids_are_those_of_the_tower():
    """With the [CLS] attention that the eager tower itself reports."""
    model = tm.build("llava", backend="eager")
    inputs = tm.ragged(model)
    embeds, visual = merged(model, inputs)
    attentions = model.model.vision_tower(inputs["pixel_values"], output_attentions=True).attentions
    side = tm.TILE // tm.PATCH
    grids = [(side, side)] * len(inputs["pixel_values"])
    for name in ("todre", "todre-v1", "cls-top-k", "vispruner", "holov", "uniform"):
        settings = {"retain": 4} | ({"stages": (1,)} if name.startswith("todre") else {})
        method = registry.create(name, **settings)
        layers = {signal.layer for signal in method.signals() if signal.kind in ("cls", "auto")} or {-1}
        attention = attentions[int(layers.pop())]
        saliency = torch.zeros(visual.shape).masked_scatter(visual, attention[:, :, 0, 1:].mean(dim=1))
        short = todre.prune_embeddings(
            method, embeds, visual, attention_mask=inputs["attention_mask"], saliency=saliency, grids=grids
        )
        with todre.prune(model, method) as report:
            model.model(**inputs)
        assert short.kept == report.kept, name


@torch.no_grad()
def test_positions_in_several_axes_follow_their_tokens():
    from families.prompts import batch, ragged
    from families.specimens import all_specimens

    specimen: Specimen = next(one for one in all_specimens() if one.name == "qwen2_5_vl")
    model = model_of(specimen.name, "sdpa")
    inputs = batch(specimen, model, ragged(specimen, model))
    seen = {}
    handle = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**inputs)
    handle.remove()
    visual = inputs["input_ids"] == model.config.image_token_id
    method = METHODS["divprune"]
    short = todre.prune_embeddings(
        method,
        seen["inputs_embeds"],
        visual,
        attention_mask=inputs["attention_mask"],
        position_ids=seen["position_ids"],
    )
    got = model.model.language_model(
        inputs_embeds=short.embeddings, attention_mask=short.attention_mask, position_ids=short.position_ids
    ).last_hidden_state[:, -1]
    with todre.prune(model, method):
        expected = model.model(**inputs).last_hidden_state[:, -1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    with pytest.raises(UnsupportedInputError, match="positions='original'"):
        todre.prune_embeddings(METHODS["compact"], seen["inputs_embeds"], visual, position_ids=seen["position_ids"])


def test_gradients_flow_through_what_is_kept(model):
    inputs = tm.ragged(model)
    embeds, visual = merged(model, inputs)
    embeds = embeds.detach().requires_grad_()
    short = todre.prune_embeddings(METHODS["todre"], embeds, visual, attention_mask=inputs["attention_mask"])
    (short.embeddings * short.attention_mask[..., None]).sum().backward()
    kept = torch.zeros(visual.shape, dtype=torch.bool)
    for row, columns in enumerate(short.columns):
        kept[row, columns[columns >= 0]] = True
    assert torch.equal(embeds.grad != 0, kept[..., None].expand_as(embeds))


def arguments():
    return {"embeddings": torch.randn(2, 9, 4), "visual": torch.arange(9).expand(2, 9) < 5}


BAD = {
    "no batch": {"embeddings": torch.randn(9, 4)},
    "integers": {"embeddings": torch.ones(2, 9, 4).long()},
    "another length": {"visual": torch.ones(2, 8).bool()},
    "numbers": {"visual": torch.ones(2, 9)},
    "mask": {"attention_mask": torch.ones(2, 8)},
    "hidden pictures": {"attention_mask": torch.zeros(2, 9)},
    "positions": {"position_ids": torch.arange(8)[None]},
    "saliency": {"saliency": torch.ones(9)},
    "grids": {"grids": [(2, 2)]},
    "empty grids": {"grids": [(0, 2), (5, 2)]},
    "negative grids": {"grids": [(-1, -5), (1, 5)]},
    "broken grids": {"grids": [(2.5, 2), (1, 5)]},
    "no rows": {"embeddings": torch.randn(0, 9, 4), "visual": torch.ones(0, 9).bool()},
    "no columns": {"embeddings": torch.randn(2, 0, 4), "visual": torch.ones(2, 0).bool()},
    "no width": {"embeddings": torch.randn(2, 9, 0)},
    "no values": {"embeddings": torch.empty(2, 9, 4, device="meta")},
    "a list of embeddings": {"embeddings": [[[0.5]]]},
    "a list": {"visual": [[True] * 9] * 2},
    "a list as mask": {"attention_mask": [[1] * 9] * 2},
    "fractional positions": {"position_ids": torch.arange(9.0)[None]},
    "saliency without values": {"saliency": torch.full((2, 9), torch.nan)},
    "a name": {"method": "todre"},
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_does_not_fit_is_said_in_one_sentence(name):
    with pytest.raises(InvalidValueError) as caught:
        todre.prune_embeddings(**({"method": METHODS["todre"]} | arguments() | BAD[name]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_positions_come_back_as_whole_numbers_of_one_kind(dtype):
    given = torch.arange(9, dtype=dtype)[None]
    short = todre.prune_embeddings(METHODS["divprune"], **arguments(), position_ids=given)
    assert short.position_ids.dtype == torch.int64
    assert torch.equal(short.position_ids, short.columns)


def test_rows_without_pictures_and_rows_of_padding_come_through():
    visual = torch.zeros(3, 9, dtype=torch.bool)
    visual[0, 1:6] = True
    mask = torch.ones(3, 9)
    mask[2] = 0
    short = todre.prune_embeddings(METHODS["todre"], torch.randn(3, 9, 4), visual, attention_mask=mask)
    assert short.attention_mask.sum(dim=1).tolist() == [6, 9, 0]
    assert short.columns[1].tolist() == list(range(9))
    assert [len(row) for row in short.kept] == [2, 0, 0]


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (todre.ToDRE(retain=0.5), "inside the decoder"),
        (todre.ToDRE(stages=(2,)), "does not choose before the decoder"),
        (registry.create("fastv", retain=0.5), "does not choose before the decoder"),
        (registry.create("tome", retain=0.5), "does not choose|in the vision tower"),
        (todre.NoPruning(), "does not choose"),
        (registry.create("cls-top-k", retain=0.5), "give saliency"),
    ],
    ids=["both-stages", "stage-2", "fastv", "tome", "none", "cls-top-k"],
)
def test_methods_that_need_more_than_embeddings_are_refused(method, what):
    with pytest.raises(UnsupportedInputError, match=what):
        todre.prune_embeddings(method, **arguments())


def test_every_method_prunes_or_says_why_not():
    for name in registry.names():
        try:
            method = registry.create(name)
        except todre.errors.TodreError:
            continue
        try:
            short = todre.prune_embeddings(method, **arguments())
        except todre.errors.TodreError:
            continue
        assert all(isinstance(place, int) for row in short.kept for place in row)
        assert np.isfinite(short.embeddings.numpy()).all()
