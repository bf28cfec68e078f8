"""VisionZip against float64 loops: dominant tokens, spaced targets, means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, order_of, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.shared.budgets import shares
from todre.methods.visionzip import VisionZip
from todre.tensors.token_facts import Signal

ATTENTION, KEYS = Signal("auto", -2), Signal("keys", -2)


def signals(n, seed=0, channels=5):
    generator = torch.Generator().manual_seed(seed + 1)
    return {ATTENTION: torch.rand(n, generator=generator), KEYS: torch.randn(n, channels, generator=generator)}


def sample(name, seed=0):
    n = len(STILL[name](seed))
    return STILL[name](seed, signals=signals(n, seed))


def tiles_of(visual):
    """Indices of each tile, by loops."""
    found = {}
    for i in range(len(visual)):
        if not visual.newline[i]:
            found.setdefault((int(visual.picture[i]), int(visual.frame[i]), int(visual.tile[i])), []).append(i)
    return sorted(found.values(), key=lambda tile: tile[0])


def cosine(one, other):
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / length) if length else 0.0


def quotas(visual, k, tiles):
    newlines = int(visual.newline.sum())
    room = k - newlines if newlines < k else min(k, len(visual) - newlines)
    return shares(room, [len(tile) for tile in tiles]), newlines < k


def brute(visual, k, method):
    """Indices and embeddings of the kept tokens."""
    attention, keys = visual.signals[ATTENTION], visual.signals[KEYS].double().numpy()
    x = visual.embeddings.double().numpy()
    tiles = tiles_of(visual)
    counts, newlines_stay = quotas(visual, k, tiles)
    result = {}
    for tile, share in zip(tiles, counts, strict=True):
        dominant = order_of(attention, tile)[: min(round(share * method.dominant), share)]
        result |= {i: x[i] for i in dominant}
        rest = [i for i in tile if i not in dominant]
        contextual = share - len(dominant)
        if not contextual:
            continue
        step = max(len(rest) // contextual, 1)
        targets = rest[::step][:contextual]
        members = {target: [] for target in targets}
        for i in rest:
            if i not in targets:
                best = max(targets, key=lambda target: (round(cosine(keys[i], keys[target]), 9), -target))
                members[best].append(x[i])
        for target, gone in members.items():
            merged = x[target] + (np.mean(gone, axis=0) if gone else 0)
            result[target] = merged / 2 if gone and method.merged == "mean" else merged
    if newlines_stay:
        result |= {i: x[i] for i in range(len(visual)) if visual.newline[i]}
    return result


def check(visual, k, method):
    selection = method.select(visual)
    expected = brute(visual, k, method)
    if len(expected) == k:
        assert selection.keep.nonzero().flatten().tolist() == sorted(expected)
    assert int(selection.keep.sum()) == k
    for i, embedding in expected.items():
        torch.testing.assert_close(selection.embeddings[i].double(), torch.from_numpy(embedding), atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    merged=st.sampled_from(["sum", "mean"]),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, merged, data):
    visual = sample(name, seed)
    k = data.draw(st.integers(1, len(visual)))
    dominant = data.draw(st.sampled_from([54 / 64, 0.5, 0.0, 1.0]))
    check(visual, k, VisionZip(retain=k, merged=merged, dominant=dominant))


def test_equal_tokens_and_zero_keys():
    n = 12
    visual = visual_tokens_of(
        n, signals={ATTENTION: torch.ones(n), KEYS: torch.zeros(n, 3)}, embeddings=torch.ones(n, 4)
    )
    selection = VisionZip(retain=6, dominant=0.5).select(visual)
    assert selection.keep.nonzero().flatten().tolist() == [0, 1, 2, 3, 6, 9]
    torch.testing.assert_close(selection.embeddings[selection.keep][:, 0], torch.tensor([1.0, 1, 1, 2, 1, 1]))


@pytest.mark.parametrize("name", sorted(STILL))
def test_keeping_all_changes_no_bit(name):
    visual = sample(name)
    for method in (VisionZip(retain=1.0), VisionZip(retain=1.0, merged="mean")):
        selection = method.select(visual)
        assert bool(selection.keep.all())
        assert torch.equal(selection.embeddings, visual.embeddings)


def test_pictures_of_one_sample():
    one, two = sample("pictures", 1), sample("clip", 2)
    check(together(one, two), 17, VisionZip(retain=17))


def test_half_precision_stays_what_it_is():
    visual = sample("clip")
    selection = VisionZip(retain=10).select(visual.with_embeddings(visual.embeddings.bfloat16()))
    assert selection.embeddings.dtype == torch.bfloat16


def test_missing_signals_are_refused():
    with pytest.raises(UnsupportedInputError):
        VisionZip(retain=3).select(visual_tokens_of(9))


def test_settings():
    assert VisionZip().signals() == (ATTENTION, KEYS)
    assert VisionZip.from_dict(VisionZip(dominant=0.7, merged="mean").to_dict()) == VisionZip(
        dominant=0.7, merged="mean"
    )
    for wrong in ({"dominant": 1.2}, {"merged": "max"}, {"attention": "keys"}, {"retain": 0}):
        with pytest.raises(InvalidValueError):
            VisionZip(**wrong)
