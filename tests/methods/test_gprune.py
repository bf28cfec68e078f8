"""G-Prune against loops over edges in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, together
from methods.making import visual_tokens_of
from methods.test_vispruner import shares

from todre.errors import InvalidValueError
from todre.methods.gprune import GPrune
from todre.select import propagation_scores


def scores(x, threshold=0.5, temperature=0.03, steps=5):
    """Message passing edge by edge."""
    rows = x.double().numpy()
    n, norms = len(rows), np.linalg.norm(rows, axis=1)
    edges = {}
    for i in range(n):
        row = {i: 1.0}
        for j in range(n):
            scale = norms[i] * norms[j]
            cosine = rows[i] @ rows[j] / scale if scale else 0.0
            if i != j and (cosine >= threshold or ((rows[i] == rows[j]).all() and scale)):
                row[j] = min(cosine, 1.0)
        whole = sum(math.exp((cosine - 1) / temperature) for cosine in row.values())
        edges[i] = {j: math.exp((cosine - 1) / temperature) / whole for j, cosine in row.items()}
    value = list(norms)
    for _ in range(steps):
        passed = [0.0] * n
        for i, row in edges.items():
            for j, weight in row.items():
                passed[j] += value[i] * weight
        value = passed
    return [value[i] / len(edges[i]) for i in range(n)]


def alike(n, seed):
    """Tokens around a few centres, so that the graph has edges."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 8, generator=generator)
    return centres[torch.randint(4, (n,), generator=generator)] + 0.5 * torch.randn(n, 8, generator=generator)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("threshold", "temperature", "steps"), [(0.5, 0.03, 5), (-1.0, 0.2, 2), (0.9, 0.03, 0)])
def test_scores_are_those_of_the_slow_loop(seed, threshold, temperature, steps):
    x = alike(40, seed)
    got = propagation_scores(x, threshold, temperature, steps)
    np.testing.assert_allclose(got.numpy(), scores(x, threshold, temperature, steps), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 10))
def test_repeated_and_zero_tokens(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    got = propagation_scores(x)
    np.testing.assert_allclose(got.numpy(), scores(x), rtol=1e-9)
    for i in range(n):
        for j in range(i):
            assert got[i] == got[j] or not torch.equal(x[i], x[j])


def brute_force(visual, k):
    newlines = visual.newline.nonzero().flatten().tolist()
    newlines = newlines if len(newlines) < k else newlines[: max(0, k - (len(visual) - len(newlines)))]
    found = {}
    for i, (p, f, t) in enumerate(
        zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)
    ):
        if t >= 0:
            found.setdefault((p, f, t > 0), []).append(i)
    chosen = list(newlines)
    for members, share in zip(
        found.values(), shares(k - len(newlines), [len(part) for part in found.values()]), strict=True
    ):
        value = dict(zip(members, scores(visual.embeddings[members]), strict=True))
        chosen += order_of(value, members)[:share]
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("retain", [1, 0.2, 0.5])
def test_thumbnail_crops_and_frames_rank_by_themselves(name, retain):
    visual = STILL[name](seed=2)
    visual = visual.with_embeddings(alike(len(visual), 7))
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(GPrune(retain=retain), visual) == brute_force(visual, k)


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i) for i, make in enumerate(STILL.values())))
    assert kept(GPrune(retain=0.4), visual) == brute_force(visual, round(0.4 * len(visual)))


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name]()
    assert_exact(GPrune, visual)
    assert_same_in_any_scale(GPrune(retain=0.4), visual)


def test_equal_tokens_tie():
    assert kept(GPrune(retain=3), visual_tokens_of(9, embeddings=torch.ones(9, 4))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value"), [("threshold", 2), ("temperature", 0), ("temperature", float("nan")), ("steps", -1)]
)
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        GPrune(**{field: value})
