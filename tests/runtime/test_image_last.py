"""Prompts that end with a picture: what follows is predicted from the last token that is left of them."""

from __future__ import annotations

import oracles
import pytest
import tinymodels as tm
import torch
from methods import handflow

import todre
from todre.methods.compose import Compose
from todre.methods.random_deep import RandomDeep

NEW = 5
METHODS = {
    "before": todre.RandomTokens(retain=0.3, seed=4),
    "inside": RandomDeep(retain=0.2, layer=3, seed=4),
    "both": Compose(todre.RandomTokens(retain=0.9, seed=0), RandomDeep(retain=0.2, layer=3, seed=4)),
}


class Drops:
    """Of the visual tokens only those that the report names go on."""

    def __init__(self, kept):
        self.kept = kept

    def before(self, number, flow):
        if number - 1 in self.kept:
            visual = sorted(flow.visual)
            flow.go_on_with({visual[index] for index in self.kept[number - 1]})

    def after(self, number, flow, look):
        pass


def picture_last(model):
    """A picture at the very end, two of them with text between, a picture alone, and text after a picture."""
    return [
        tm.sample(model, 6, [tm.SIZES[0]], 0, seed=1),
        tm.sample(model, 3, [tm.SIZES[2], tm.SIZES[3]], 0, seed=2),
        tm.sample(model, 0, [tm.SIZES[1]], 0, seed=3),
        tm.sample(model, 4, [tm.SIZES[4]], 7, seed=4),
    ]


def last_of(inputs):
    """(b,) the last real column."""
    mask = inputs["attention_mask"]
    return (torch.arange(mask.shape[1]) * mask).amax(dim=1)


def last_is_gone(report, row):
    """Whether the sample's last visual token left, before the LLM or inside."""
    kept = list(report.kept_from_layer[row].values())[-1]
    return report.visual_tokens_before[row] - 1 not in kept


def expected_of(model, single, answer, kept):
    """(1 + answer, vocab): from the last column left of the prompt, and from each token of the answer."""
    logits = handflow.run(model, single, answer, Drops(kept))
    length = single["input_ids"].shape[1]
    last = max(column for column in logits if column < length)
    return torch.stack([logits[column] for column in logits if column >= last])


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_the_last_survivor_stands_in_for_the_last_column(models, name, side, use_cache):
    model = models()
    prompts = picture_last(model)
    inputs = tm.batch(model, prompts, side)
    options = {"position_ids": tm.positions(inputs["attention_mask"]), "use_cache": use_cache}
    with todre.prune(model, METHODS[name]) as report:
        got = model(**inputs, **options, output_hidden_states=True)
    assert all(last_is_gone(report, row) for row in range(4))
    for row, one in enumerate(prompts):
        last = last_of(inputs)[row]
        single = tm.batch(model, [one])
        nothing = torch.empty(0, dtype=torch.long)
        expected = expected_of(model, single, nothing, report.kept_from_layer[row])[0]
        torch.testing.assert_close(got.logits[row, last], expected, atol=1e-5, rtol=0)
        assert all(bool(state[row, last].any()) for state in got.hidden_states)
        torch.testing.assert_close(model.lm_head(got.hidden_states[-1][row, last]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_generation_goes_on_from_the_last_survivor(models, name):
    model = models()
    prompts = picture_last(model)
    settings = {"suppress_tokens": [tm.IMAGE], "output_logits": True, "return_dict_in_generate": True}
    settings |= {"do_sample": False, "max_new_tokens": NEW}
    with todre.prune(model, METHODS[name]) as report:
        together = model.generate(**tm.batch(model, prompts), **settings)
        kept = report.kept_from_layer
    logits = torch.stack(together.logits, dim=1)
    for row, one in enumerate(prompts):
        answer = together.sequences[row, -NEW:]
        expected = expected_of(model, tm.batch(model, [one]), answer[:-1], kept[row])
        torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=0)


def test_generation_equals_that_of_a_prompt_that_never_had_the_tokens(models):
    model = models()
    inputs = tm.batch(model, picture_last(model)[:1])
    settings = {"suppress_tokens": [tm.IMAGE], "do_sample": False, "max_new_tokens": NEW}
    with todre.prune(model, todre.RandomTokens(retain=0.3, seed=4, positions="compact")) as report:
        got = model.generate(**inputs, **settings)
    assert last_is_gone(report, 0)
    visual = (inputs["input_ids"] == model.config.image_token_id)[0]
    stay = ~visual
    stay[visual.nonzero().flatten()[report.kept[0]]] = True
    embeds = oracles.prompt_embeddings(model, inputs)[:, stay]
    expected = model.generate(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]).long(), **settings)
    assert torch.equal(got[0, -NEW:], expected[0, -NEW:])


@pytest.mark.parametrize("name", METHODS)
def test_drafts_are_judged_from_the_last_survivor(models, name):
    model = models()
    inputs = tm.batch(model, picture_last(model)[:1])
    settings = {"suppress_tokens": [tm.IMAGE], "do_sample": False, "max_new_tokens": NEW}
    with todre.prune(model, METHODS[name]) as report:
        greedy = model.generate(**inputs, **settings)
        assert last_is_gone(report, 0)
        assisted = model.generate(**inputs, **settings, assistant_model=models("next-mistral"))
    assert torch.equal(greedy, assisted)


@torch.no_grad()
def test_text_after_a_picture_is_predicted_from_the_last_survivor_before_it(models):
    model = models()
    one = picture_last(model)[3]
    inputs = tm.batch(model, [one])
    with todre.prune(model, METHODS["both"]) as report:
        got = model(**inputs).logits[0]
    assert last_is_gone(report, 0)
    nothing = torch.empty(0, dtype=torch.long)
    expected = handflow.run(model, inputs, nothing, Drops(report.kept_from_layer[0]))
    visual = (inputs["input_ids"] == model.config.image_token_id)[0].nonzero().flatten().tolist()
    survivor = max(column for column in expected if column in visual)
    for column in visual[visual.index(survivor) :]:
        torch.testing.assert_close(got[column], expected[survivor], atol=1e-5, rtol=0)
