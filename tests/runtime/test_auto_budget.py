"""Automatic budgets inside the model: a count for each picture, alone as in a batch, and what is done with it."""

from __future__ import annotations

import dataclasses

import pytest
import tinymodels as tm
import torch
from families.specimens import model_of
from methods import matrix
from methods.examples import clip, pictures, together

import todre
from todre.errors import UnsupportedInputError
from todre.evaluate.selection_cache import remembering
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.runtime.selection import choose
from todre.vllm.served_methods import name_and_options

AUTO = AutoBudget(threshold=0.6, floor=3, text=None)
SELECTING = [
    name
    for name in registry.names()
    if "retain" in registry.entry(name).settings and "select" in registry.entry(name).card.acts and name != "history"
]


def rows(model):
    """Samples of one picture, of two, and of none, whose pictures all differ."""
    samples = [
        tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
        tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
        tm.sample(model, 12, [], 5, seed=3),
    ]
    return samples, tm.batch(model, samples)


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
@pytest.mark.parametrize("rule", ["rank", "energy", "coverage"])
@torch.no_grad()
def test_a_picture_gets_the_same_count_alone_as_in_a_batch(models, kind, rule):
    model = models(kind, "sdpa")
    samples, inputs = rows(model)
    method = todre.ToDRE(retain=AutoBudget(rule=rule, threshold=0.7, floor=2, text=None), stages=(1,))
    with todre.prune(model, method) as report:
        model(**inputs)
        budgets, kept, after = report.auto_budgets, report.kept, report.visual_tokens_after
        assert [len(row) for row in budgets] == [1, 2, 0]
        assert after == [sum(row) for row in budgets]
        assert kind == "llava" or len({count for row in budgets for count in row}) > 1
        for row, sample in enumerate(samples):
            model(**tm.batch(model, [sample]))
            if sample.pictures:
                assert report.auto_budgets == [budgets[row]]
                assert report.kept == [kept[row]]


@torch.no_grad()
def test_a_count_is_what_the_number_would_be(models):
    model = models("next-llama", "sdpa")
    inputs = tm.batch(model, [tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1)])
    with todre.prune(model, todre.ToDRE(retain=AUTO)) as report:
        got = model(**inputs).logits
        ((count,),) = report.auto_budgets
        assert report.method["retain"] == AUTO.to_plain()
    assert 3 < count < report.visual_tokens_before[0]
    with todre.prune(model, todre.ToDRE(retain=count)) as report:
        assert torch.equal(model(**inputs).logits, got)
        assert report.auto_budgets == [[]]


@pytest.mark.parametrize("name", SELECTING)
@torch.no_grad()
def test_every_method_that_selects_keeps_the_counts(name):
    refused = matrix.REFUSED.get(name, set())
    family = next((each for each in matrix.FAMILIES if each not in refused), None)
    if family is None:
        sample = clip(signals=dict.fromkeys(registry.create(name).signals()))
        chosen = choose(registry.create(name, retain=AUTO), sample)
        assert chosen.budgets == (AUTO.count(sample),)
        assert len(chosen.keep) == chosen.budgets[0]
        return
    specimen = matrix.specimen_of(family)
    model = model_of(family, "sdpa")
    method = matrix.method_of(name, retain=AUTO)
    _, report, _ = matrix.agrees_with_itself(specimen, model, method)
    for before, counts, after in zip(
        report.visual_tokens_before, report.auto_budgets, report.visual_tokens_after, strict=True
    ):
        assert bool(counts) == (before > 0)
        assert all(count >= 3 for count in counts)
        assert after == sum(counts)


def test_each_picture_clip_or_frame_has_a_count_of_its_own():
    sample = together(pictures(d=8), clip(d=8, frames=3))
    for per, parts in (("sample", 4), ("image", 4), ("clip", 4), ("frame", 6)):
        chosen = choose(todre.DivPrune(retain=AUTO, per=per), sample)
        assert len(chosen.budgets) == parts
        assert len(chosen.keep) == sum(chosen.budgets)
    for number, count in enumerate(choose(todre.DivPrune(retain=AUTO), sample).budgets):
        mine = sample.take((sample.picture == number).nonzero().flatten())
        assert count == AUTO.count(mine)


def test_a_composition_counts_what_is_left():
    sample = pictures(d=8, sizes=((6, 6),))
    first = choose(todre.DivPrune(retain=0.5), sample)
    both = choose(todre.Compose(todre.DivPrune(retain=0.5), todre.RandomTokens(retain=AUTO)), sample)
    assert both.budgets == (AUTO.count(sample.take(first.keep)),)
    assert set(both.keep.tolist()) <= set(first.keep.tolist())


def test_a_memory_of_selections_does_not_mix_budgets():
    method = remembering(todre.ToDRE(retain=AUTO, pivot="random"))
    sample = pictures(d=8, sizes=((6, 6),))
    count = AUTO.count(sample)
    for k in (count, count + 2, count):
        assert int(dataclasses.replace(method, retain=k).select(sample).sum()) == k
    assert choose(method, sample).budgets == (count,)


@torch.no_grad()
def test_embeddings_merged_by_hand_get_the_same_counts(models):
    from runtime.test_embeddings import merged

    model = models("llava", "sdpa")  # without newline tokens, which these embeddings do not tell from others
    _, inputs = rows(model)
    method = todre.ToDRE(retain=AUTO, stages=(1,), pivot="random")
    embeds, visual = merged(model, inputs)
    short = todre.prune_embeddings(method, embeds, visual, attention_mask=inputs["attention_mask"])
    with todre.prune(model, method) as report:
        model(**inputs)
    assert short.kept == report.kept


def test_vllm_refuses_a_budget_that_depends_on_the_picture():
    with pytest.raises(UnsupportedInputError, match=r"^vLLM asks for the number of tokens .* budget auto; give a num"):
        name_and_options(todre.DivPrune(retain="auto"))
