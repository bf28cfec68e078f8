"""DivPrune's order on its two ways, table and bounds, against float64 brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre import tiny
from todre.errors import InvalidValueError
from todre.scenes import make_scene
from todre.select import isolated, k_center_order, max_min_order, pivot_isolated
from todre.select.isolated import most_isolated
from todre.select.rows import UnitRows, unit_rows


def cosines(x):
    """All cosines in float64; exactly 1 for identical tokens, 0 for zero tokens."""
    rows = x.double().numpy()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    found = unit @ unit.T
    _, kind = np.unique(rows + 0.0, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    return np.where((kind[:, None] == kind) & (norms[:, 0] > 0), 1.0, found)


def brute_force(x, k):
    """The order, and the smallest margin of a choice over tokens that it did not tie with."""
    table = cosines(x)
    value = np.where(np.eye(len(x), dtype=bool), -np.inf, table).max(axis=1)
    order, margin = [], np.inf
    while len(order) < k:
        pick = int(value.argmin())
        rest = value[np.isfinite(value) & (value > value[pick])]
        margin = min(margin, rest.min() - value[pick]) if len(rest) else margin
        order.append(pick)
        value = table[order].max(axis=0)
        value[order] = np.inf
    return order, margin


def made(kind, n, d, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    if kind == "clustered":
        x = 0.4 * x + torch.randn(9, d, generator=generator)[torch.randint(9, (n,), generator=generator)] + 1.0
    if kind == "smooth":
        x = x.cumsum(dim=0) + 4.0
    return x


# (n, d): all cosines are computed where n ≤ d, and bounds are used where n > d.
SHAPES = [(60, 80), (230, 256), (300, 24), (700, 40)]
# Far more than the rounding of float32 cosines.
SURE = 1e-6


@pytest.mark.parametrize("kind", ["gaussian", "clustered", "smooth"])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_order_is_that_of_float64(kind, n, d):
    decided = 0
    for seed in range(6):
        x = made(kind, n, d, seed)
        expected, margin = brute_force(x, n // 10)
        if margin > SURE:
            assert max_min_order(x, n // 10).tolist() == expected
            decided += 1
    assert decided >= 3


def test_on_features_of_the_shipped_model():
    model, processor = tiny.load()
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the red star?"}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    batch = processor(images=make_scene(0, "val", (192, 96)).image, text=prompt, return_tensors="pt")
    with torch.no_grad():
        features = model.model.get_image_features(batch["pixel_values"], batch["image_sizes"], return_dict=True)
    x = features.pooler_output[0]
    expected, margin = brute_force(x, len(x) // 10)
    order = max_min_order(x, len(x) // 10).tolist()
    table = cosines(x)
    if margin > SURE:
        assert order == expected
    for step in range(1, len(order)):
        value = table[order[:step]].max(axis=0)
        value[order[:step]] = np.inf
        assert value[order[step]] <= value.min() + SURE


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 30), d=st.sampled_from([4, 16, 64]))
def test_ties_duplicates_and_zero_tokens(data, n, d):
    """Every cosine is a multiple of 1/64, so every tie is a true one."""
    pool = data.draw(st.lists(st.lists(st.sampled_from([-1.0, 1.0]), min_size=d, max_size=d), min_size=1, max_size=9))
    rows = data.draw(st.lists(st.sampled_from([*pool, [0.0] * d]), min_size=n, max_size=n))
    x = torch.tensor(rows)
    k = data.draw(st.integers(1, n))
    expected = brute_force(x, k)[0]
    assert max_min_order(x, k).tolist() == expected
    assert k_center_order(x, k, pivot_isolated(x)).tolist() == expected


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_a_batch_is_its_samples(n, d):
    x = torch.stack([made(kind, n, d, 1) for kind in ("gaussian", "clustered", "smooth", "gaussian")])
    x[3, 5:9] = x[3, 4]
    batch = max_min_order(x, 12)
    assert batch.tolist() == [max_min_order(sample, 12).tolist() for sample in x]
    assert max_min_order(x[:0], 3).shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 90), kind=st.sampled_from(["gaussian", "clustered", "smooth"]))
def test_bounds_never_exclude_the_answer(seed, n, kind):
    """Whatever the block size, and whichever tokens have met, the answer is that of all cosines."""
    x = made(kind, n, 12, seed).double()
    table = np.where(np.eye(n, dtype=bool), -np.inf, cosines(x))
    expected = int(table.max(axis=1).argmin())
    for smallest in (1, 2, 7, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(isolated, "_SMALLEST", smallest)
            found = most_isolated(unit_rows(x))
        assert table[found].max() <= table[expected].max() + 1e-14


def test_bounds_save_most_products_where_neighbours_are_alike(monkeypatch):
    computed, between = [], UnitRows.between

    def counting(self, chosen, others):
        computed.append(len(chosen) * len(others))
        return between(self, chosen, others)

    monkeypatch.setattr(UnitRows, "between", counting)
    x = made("clustered", 1200, 32, 0)
    pivot_isolated(x)
    assert sum(computed) < 1200**2 / 4
    computed.clear()
    pivot_isolated(torch.eye(1200))  # nobody is nearer than any other: each pair once, and blocks with themselves
    assert sum(computed) < 1200**2 * 0.6


def test_bad_input_is_one_sentence():
    with pytest.raises(InvalidValueError, match=r"k must lie between 1 and the number of tokens, 5, got 6"):
        max_min_order(torch.ones(5, 3), 6)
    with pytest.raises(InvalidValueError, match="the first is token 1"):
        max_min_order(torch.tensor([[1.0, 2.0], [torch.nan, 1.0]]), 1)
