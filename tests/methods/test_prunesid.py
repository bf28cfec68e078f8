"""PruneSID against float64 loops: SVD groups, suppression, quotas."""

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
from todre.methods.prunesid import PruneSID
from todre.select import component_loadings
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -2)


def loadings(x, count):
    """Absolute right singular vectors of channels × tokens, centred over channels, (tokens, count).

    Those without variance, of which there may be any, are 0.
    """
    table = 1 / (1 + np.exp(-x.double().numpy())).T
    table = table - table.mean(axis=0)
    _, strength, vectors = np.linalg.svd(table, full_matrices=False)
    vectors = vectors * (strength > 1e-6 * strength[0])[:, None]
    return np.abs(vectors[:count].T)


def shared_out(total, chosen, sizes):
    """1 for each group, then by share of the chosen, up to caps, largest remainder first."""
    caps = [min(c, 5 * math.ceil(total / 64)) for c in chosen]
    while sum(caps) < total:
        caps = [min(cap + 1, size) for cap, size in zip(caps, sizes, strict=True)]
    result, open_ = [1] * len(caps), list(range(len(caps)))
    while open_ and sum(result) < total:
        left = total - sum(result)
        ideal = {g: left * chosen[g] / sum(chosen[h] for h in open_) for g in open_}
        full = [g for g in open_ if ideal[g] >= caps[g] - 1 - 1e-9]
        for g in full:
            result[g] = caps[g]
        if not full:
            for g in open_:
                result[g] += int(ideal[g] + 1e-9)
            by_remainder = sorted(open_, key=lambda g: (-round(ideal[g] - int(ideal[g] + 1e-9), 9), g))
            for g in by_remainder[: total - sum(result)]:
                result[g] += 1
        open_ = [g for g in open_ if g not in full]
    return result


def brute_tile(visual, tile, share, method, attention):
    x = visual.embeddings[tile].double().numpy()
    loading = loadings(visual.embeddings[tile], max(share // method.per_group, 1))
    group = loading.argmax(axis=1)
    score = loading.max(axis=1) if attention is None else [attention[i] for i in tile]
    m = len(tile)
    mean = np.mean([cosine(x[i], x[j]) for i in range(m) for j in range(m) if i != j])
    limit = method.scale * share / m * mean
    survivors, suppressed = [], []
    for number in sorted(set(group.tolist())):
        left = order_of(score, [i for i in range(m) if group[i] == number])
        order, taken = list(left), []
        while left:
            taken.append(left[0])
            left = [i for i in left[1:] if cosine(x[taken[-1]], x[i]) <= limit]
        survivors.append(taken)
        suppressed.append([i for i in order if i not in taken])
    lists = [a + b for a, b in zip(survivors, suppressed, strict=True)]
    counts = shared_out(share, [len(taken) for taken in survivors], [len(one) for one in lists])
    return [tile[i] for one, count in zip(lists, counts, strict=True) for i in one[:count]]


def brute(visual, k, method, attention):
    tiles = tiles_of(visual)
    counts, newlines_stay = quotas(visual, k, tiles)
    chosen = [i for i in range(len(visual)) if visual.newline[i]] if newlines_stay else []
    for tile, share in zip(tiles, counts, strict=True):
        whole = share in (0, len(tile))
        chosen += tile[:share] if whole else brute_tile(visual, tile, share, method, attention)
    return sorted(chosen)


def check(visual, k, method, attention):
    got, expected = kept(method, visual), brute(visual, k, method, attention)
    assert len(got) == k
    assert set(expected) <= set(got)
    assert all(bool(visual.newline[i]) for i in set(got) - set(expected))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    wide=st.booleans(),
    per_group=st.sampled_from([1, 2, 4, 50]),
    scale=st.sampled_from([1e-6, 0.5, 18.0, 1e6]),
    shift=st.sampled_from([0.0, 1.0]),
    importance=st.sampled_from(["auto", "loading"]),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, wide, per_group, scale, shift, importance, data):
    visual = STILL[name](seed, signals={AUTO: None}, d=24 if wide else 8)
    visual = visual.with_embeddings(visual.embeddings + shift)
    k = data.draw(st.integers(1, len(visual)))
    attention = visual.signals[AUTO] if importance == "auto" else None
    check(visual, k, PruneSID(retain=k, per_group=per_group, scale=scale, importance=importance), attention)


def test_pictures_and_clips_in_one_sample():
    visual = together(*(make(seed=i, signals={AUTO: None}) for i, make in enumerate(STILL.values())))
    check(visual, 40, PruneSID(retain=40), visual.signals[AUTO])


def test_each_picture_is_what_it_is_alone():
    samples = [STILL["anyres"](seed=i, signals={AUTO: None}) for i in (1, 2)]
    k, n = 22, len(samples[0])  # a quarter of each tile beside the 6 newline tokens
    first, second = (kept(PruneSID(retain=k), sample) for sample in samples)
    assert kept(PruneSID(retain=2 * k), together(*samples)) == first + [n + i for i in second]


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("importance", ["auto", "loading"])
def test_exactly_the_budget(name, importance):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(lambda retain: PruneSID(retain=retain, importance=importance), visual)
    assert_same_in_any_scale(PruneSID(retain=0.4, importance=importance), visual)


def test_a_threshold_above_one_suppresses_nothing():
    """From a share of 1 / (18 · mean cosine) on, the most attended of each group stay."""
    visual = visual_tokens_of(60, d=30, signals={AUTO: None}, seed=4)
    visual = visual.with_embeddings(visual.embeddings + 0.7)
    attention = visual.signals[AUTO]
    group = loadings(visual.embeddings, 5).argmax(axis=1)
    got = kept(PruneSID(retain=20), visual)
    assert got == kept(PruneSID(retain=20, scale=1e9), visual)
    for number in set(group.tolist()):
        members = [i for i in range(60) if group[i] == number]
        mine = [i for i in got if group[i] == number]
        assert sorted(order_of(attention, members)[: len(mine)]) == mine


def test_a_near_duplicate_waits_for_the_others():
    x = torch.tensor([[9.0, 0, 0, 1], [9, 0, 0, 1.1], [1, 9, 0, 0], [1, 0, 9, 0], [1, 0, 8, 3]])
    visual = visual_tokens_of(5, embeddings=x, signals={AUTO: torch.tensor([5.0, 4, 3, 2, 1])})
    assert kept(PruneSID(retain=2, scale=1e9), visual) == [0, 1]
    assert kept(PruneSID(retain=2, scale=5.0), visual) == [0, 2]


def test_groups_without_a_token_and_caps():
    from todre.methods.prunesid import _quotas

    assert _quotas(10, [30, 2, 1], [40, 3, 1]) == [6, 3, 1]
    assert _quotas(4, [1, 1], [9, 9]) == [2, 2]
    assert _quotas(8, [30, 9, 3], [30, 9, 9]) == [5, 2, 1]
    assert _quotas(70, [60, 50], [60, 50]) == [35, 35]
    assert _quotas(130, [100, 100, 1], [100, 100, 1]) == [65, 64, 1]


def test_tokens_that_are_all_alike():
    visual = visual_tokens_of(8, embeddings=torch.ones(8, 4), signals={AUTO: torch.ones(8)})
    assert kept(PruneSID(retain=5, per_group=1), visual) == [0, 1, 2, 3, 4]
    assert kept(PruneSID(retain=3, importance="loading"), visual.with_embeddings(torch.zeros(8, 4))) == [0, 1, 2]


@pytest.mark.parametrize(("n", "d"), [(6, 20), (20, 6), (7, 7), (1, 3), (3, 1)])
def test_components_are_those_of_the_svd(n, d):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
    count = min(n, 4)
    got = component_loadings(x.double().sigmoid(), count).numpy()
    want = loadings(x, count)
    rank = min(count, d - 1)  # centring over channels leaves d - 1 directions
    np.testing.assert_allclose(got[:, :rank], want[:, :rank], atol=1e-9)
    assert not got[:, rank:].any()


def test_identical_tokens_load_alike_and_the_generator_is_left_alone():
    x = torch.randn(9, 12, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    before = torch.get_rng_state()
    got = component_loadings(x, 5)
    assert torch.equal(got[:9], got[9:])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_signal_asked_for_is_the_one_that_is_read():
    assert PruneSID().signals() == (AUTO,)
    assert PruneSID(importance="cls", layer=-1).signals() == (Signal("cls", -1),)
    assert PruneSID(importance="loading").signals() == ()
    unknown = visual_tokens_of(9, seed=2)
    assert kept(PruneSID(retain=4), unknown) == kept(PruneSID(retain=4, importance="loading"), unknown)
    with pytest.raises(UnsupportedInputError, match="No received signal"):
        PruneSID(importance="received").select(unknown)


def test_bad_values_are_refused():
    assert PruneSID.from_dict(PruneSID(scale=3, per_group=2).to_dict()) == PruneSID(scale=3, per_group=2)
    for wrong in ({"retain": 0}, {"per_group": 0}, {"scale": 0}, {"importance": "norm"}):
        with pytest.raises(InvalidValueError):
            PruneSID(**wrong)
