"""The growing threshold against float64 loops, and the effective rank by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, together
from methods.making import visual_tokens_of
from methods.test_visionzip import cosine, quotas, tiles_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.agile_threshold import AgileThreshold
from todre.select import effective_rank
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -2)


def rank_of(x):
    sigma = np.linalg.svd(x, compute_uv=False)
    return math.exp(-sum(p * math.log(p) for p in sigma / sigma.sum() if p > 0))


def brute(visual, k, method):
    x = visual.embeddings.double().numpy()
    tiles = tiles_of(visual)
    counts, newlines_stay = quotas(visual, k, tiles)
    chosen = [i for i in range(len(visual)) if visual.newline[i]] if newlines_stay else []
    for tile, share in zip(tiles, counts, strict=True):
        if share == len(tile):
            chosen += tile
            continue
        ratio = rank_of(x[tile]) / method.average_rank if method.average_rank else 1.0
        order = order_of(visual.signals[AUTO], tile)
        left, mine = list(order), []
        while left and len(mine) < share:
            mine.append(left[0])
            threshold = min(method.most, method.step * len(mine) * ratio)
            left = [i for i in left[1:] if 1 - cosine(x[i], x[mine[-1]]) >= threshold]
        mine += [i for i in order if i not in mine][: share - len(mine)]
        chosen += mine
    return sorted(chosen)


def check(visual, k, method):
    got, expected = kept(method, visual), brute(visual, k, method)
    assert len(got) == k
    assert set(expected) <= set(got)
    assert all(bool(visual.newline[i]) for i in set(got) - set(expected))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    step=st.sampled_from([0.001, 0.01, 0.1, 0.5]),
    most=st.sampled_from([0.0, 0.3, 0.9, 2.0]),
    average_rank=st.sampled_from([None, 2.0, 40.0]),
    shift=st.sampled_from([0.0, 1.0]),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, step, most, average_rank, shift, data):
    visual = STILL[name](seed, signals={AUTO: None}, d=data.draw(st.sampled_from([8, 24])))
    visual = visual.with_embeddings(visual.embeddings + shift)
    k = data.draw(st.integers(1, len(visual)))
    check(visual, k, AgileThreshold(retain=k, step=step, most=most, average_rank=average_rank))


def test_pictures_and_clips_in_one_sample():
    visual = together(*(make(seed=i, signals={AUTO: None}) for i, make in enumerate(STILL.values())))
    check(visual, 40, AgileThreshold(retain=40, step=0.1, average_rank=5.0))


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(lambda retain: AgileThreshold(retain=retain, step=0.2, most=1.0), visual)
    assert_same_in_any_scale(AgileThreshold(retain=0.4, step=0.1, average_rank=5.0), visual)


def test_without_a_threshold_it_is_attention_top_k():
    visual = visual_tokens_of(30, signals={AUTO: None}, seed=3)
    got = kept(AgileThreshold(retain=7, most=0.0), visual)
    assert got == sorted(order_of(visual.signals[AUTO], range(30))[:7])


def test_a_richer_picture_keeps_more_diverse_tokens():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(80, 16, generator=generator) + 1.5
    visual = visual_tokens_of(80, embeddings=x, signals={AUTO: None})
    rank = effective_rank(x)

    def likeness(average):
        mine = x[kept(AgileThreshold(retain=12, average_rank=average), visual)]
        unit = mine / mine.norm(dim=1, keepdim=True)
        return float((unit @ unit.T).mean())

    assert likeness(rank / 4) < likeness(rank * 4)
    assert kept(AgileThreshold(retain=12, average_rank=rank), visual) == kept(AgileThreshold(retain=12), visual)


def test_duplicates_wait_and_then_fill_up():
    x = torch.eye(3).repeat_interleave(2, dim=0)
    visual = visual_tokens_of(6, embeddings=x, signals={AUTO: torch.tensor([6.0, 5, 4, 3, 2, 1])})
    assert kept(AgileThreshold(retain=3), visual) == [0, 2, 4]
    assert kept(AgileThreshold(retain=4), visual) == [0, 1, 2, 4]
    equal = visual_tokens_of(6, embeddings=torch.ones(6, 3), signals={AUTO: torch.ones(6)})
    assert kept(AgileThreshold(retain=4), equal) == [0, 1, 2, 3]


@pytest.mark.parametrize(("n", "d"), [(5, 12), (12, 5), (6, 6), (1, 4), (4, 1)])
def test_effective_rank(n, d):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
    assert effective_rank(x) == pytest.approx(rank_of(x.double().numpy()), rel=1e-6)
    assert effective_rank(x.bfloat16()) == pytest.approx(effective_rank(x.bfloat16().float()), rel=1e-12)
    assert effective_rank(torch.eye(n)) == pytest.approx(n)
    assert effective_rank(torch.ones(n, d)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(n, d)) == 1.0


def test_the_signal_asked_for_is_the_one_that_is_read():
    assert AgileThreshold().signals() == (AUTO,)
    with pytest.raises(UnsupportedInputError, match="No received signal"):
        AgileThreshold(attention="received").select(visual_tokens_of(5))


def test_bad_values_are_refused():
    method = AgileThreshold(average_rank=80, most=0.5)
    assert AgileThreshold.from_dict(method.to_dict()) == method
    for wrong in ({"retain": 0}, {"step": 0}, {"most": 2.5}, {"average_rank": 0}, {"attention": "keys"}):
        with pytest.raises(InvalidValueError):
            AgileThreshold(**wrong)
