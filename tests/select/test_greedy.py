"""Greedy selection against float64 brute force, on data chosen to break it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.select import cosine_blocks, k_center, k_center_order, max_sum, max_sum_blocks, max_sum_order
from todre.select.cosine_blocks import CosineBlocks
from todre.select.rows import UnitRows, unit_rows

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ORDERS = {"k_center": k_center_order, "max_sum": max_sum_order}
SETS = {"k_center": k_center, "max_sum": max_sum}
both = pytest.mark.parametrize("rule", ["k_center", "max_sum"])


def distances(x):
    """1 - cosine of every pair in float64; a zero vector has cosine 0 with everything."""
    rows = x.double().cpu().numpy()
    largest = np.abs(rows).max(1, keepdims=True)
    rows = rows / np.where(largest > 0, largest, 1)
    norms = np.sqrt((rows * rows).sum(1))
    cosine = np.array([(rows * row).sum(1) for row in rows])
    scale = np.outer(norms, norms)
    return 1 - np.divide(cosine, scale, out=np.zeros_like(cosine), where=scale > 0)


def gains(distance, chosen, rule):
    """What each token would add to the chosen ones.

    It is its distance to the nearest of them, or the sum of its distances to all.
    """
    to_chosen = distance[:, chosen]
    return to_chosen.min(1) if rule == "k_center" else to_chosen.sum(1)


def brute_force(x, k, pivot, rule):
    """Greedy order, and the smallest margin of a pick over tokens it did not tie with."""
    distance, chosen, margin = distances(x), [pivot], np.inf
    while len(chosen) < k:
        gain = gains(distance, chosen, rule)
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        rest = gain[np.isfinite(gain)]
        lower = rest[rest < gain[best]]
        margin = min(margin, gain[best] - lower.max()) if len(lower) else margin
        chosen.append(best)
    return chosen, margin


def assert_greedy(x, order, pivot, rule, tolerance):
    """Check that each pick is the best within `tolerance`, given the picks before it.

    It must also be the first of its identical tokens.
    """
    distance, rows = distances(x), x.cpu()
    assert order[0] == pivot
    assert len(set(order)) == len(order)
    for step in range(1, len(order)):
        gain = gains(distance, order[:step], rule)
        open_ = [i for i in range(len(rows)) if i not in order[:step]]
        pick = order[step]
        assert gain[pick] >= gain[open_].max() - tolerance * step
        assert not any(torch.equal(rows[i], rows[pick]) for i in open_ if i < pick)


def plain_loop(x, k, pivot, rule):
    """The textbook loop in the library's precision: one product per pick."""
    unit = x / x.norm(dim=-1, keepdim=True)
    value = torch.full((len(x),), -torch.inf if rule == "k_center" else 0.0, dtype=torch.float64)
    order = [pivot]
    while len(order) < k:
        cosine = unit @ unit[order[-1]]
        value = torch.maximum(value, cosine) if rule == "k_center" else value + cosine
        value[order] = torch.inf
        order.append(int(value.argmin()))
    return order


def clustered(n, d, seed=0, shared=1.0, dtype=torch.float32):
    """Tokens around a few centres with a common direction, as in a language model."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, d, generator=g, dtype=torch.float64)
    x = centres[torch.randint(12, (n,), generator=g)] + 0.5 * torch.randn(n, d, generator=g, dtype=torch.float64)
    return (x + shared * torch.randn(1, d, generator=g, dtype=torch.float64)).to(dtype)


@st.composite
def token_sets(draw):
    """Small difficult sets: repeated, zero and collinear rows, scales 1e-37 to 1e37."""
    d = draw(st.integers(1, 6))
    row = st.lists(st.integers(-3, 3) | st.floats(-1, 1, width=32), min_size=d, max_size=d)
    pool = torch.tensor(draw(st.lists(row, min_size=1, max_size=8)), dtype=torch.float32)
    scales = 10.0 ** torch.tensor([draw(st.sampled_from([-37, -20, -3, 0, 0, 0, 3, 20, 37])) for _ in pool])
    picks = draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=14))
    x = (pool * scales[:, None].float())[picks]
    n = len(picks)
    return x, draw(st.integers(1, n)), draw(st.integers(0, n - 1))


@st.composite
def exact_token_sets(draw):
    """Signs, axes and zeros in 4 or 16 dimensions.

    Every cosine is a multiple of 1/16, so every tie is a true tie.
    """
    d = draw(st.sampled_from([4, 16]))
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=d, max_size=d)
    axis = st.integers(0, d - 1).map(lambda i: [2.0 * (j == i) for j in range(d)])
    rows = draw(st.lists(signs | axis | st.just([0.0] * d), min_size=1, max_size=30))
    n = len(rows)
    return torch.tensor(rows), draw(st.integers(1, n)), draw(st.integers(0, n - 1))


@both
@settings(max_examples=150, deadline=None)
@given(case=token_sets())
def test_every_pick_is_the_best_by_brute_force(rule, case):
    x, k, pivot = case
    assert_greedy(x, ORDERS[rule](x, k, pivot).tolist(), pivot, rule, tolerance=2e-6)


@both
@settings(max_examples=150, deadline=None)
@given(case=exact_token_sets())
def test_ties_go_to_the_lowest_index(rule, case):
    x, k, pivot = case
    assert ORDERS[rule](x, k, pivot).tolist() == brute_force(x, k, pivot, rule)[0]


@both
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equals_brute_force_in_every_dtype(rule, dtype, device):
    tolerance = 1e-12 if dtype == torch.float64 else 5e-6
    decided = 0
    for seed in range(8):
        x = clustered(60, 24, seed, dtype=dtype)
        expected, margin = brute_force(x, 25, 7, rule)
        if margin > tolerance * 25:
            order = ORDERS[rule](x.to(device), 25, 7)
            assert order.tolist() == expected
            assert order.device.type == device
            assert order.dtype == torch.int64
            decided += 1
    assert decided >= 5


@both
@pytest.mark.parametrize(("n", "d", "k"), [(900, 128, 300), (700, 8, 250), (300, 256, 300)])
def test_blocks_give_the_picks_of_the_plain_loop(rule, n, d, k):
    for shared in (0.0, 2.0):
        x = clustered(n, d, seed=n, shared=shared, dtype=torch.float64)
        assert ORDERS[rule](x, k, 3).tolist() == plain_loop(x, k, 3, rule)


def test_long_sums_keep_their_last_digits():
    """After hundreds of picks in a narrow cone, sums are large and differences tiny."""
    x = clustered(1200, 32, seed=1, shared=12.0, dtype=torch.float64)
    assert max_sum_order(x, 400, 3).tolist() == plain_loop(x, 400, 3, "max_sum")


def test_remembered_cosines_stay_smaller_than_the_tokens(monkeypatch):
    held, row = [], CosineBlocks.row
    monkeypatch.setattr(CosineBlocks, "row", lambda self, *args: (row(self, *args), held.append(len(self._known)))[0])
    max_sum_order(clustered(800, 80, shared=0.0), 300, 0)
    assert 40 < max(held) <= 80


@both
@pytest.mark.parametrize("shared", [2.0, 0.0])
def test_blocks_save_most_passes_over_the_tokens(rule, shared, monkeypatch):
    """The plain loop reads all n rows once per pick; blocks read far fewer."""
    read, multiplied = [], UnitRows._multiplied

    def counting(self, vectors, scales, part):
        read.append(len(self.tokens) if part is None else len(part))
        return multiplied(self, vectors, scales, part)

    monkeypatch.setattr(UnitRows, "_multiplied", counting)
    ORDERS[rule](clustered(1500, 256, shared=shared), 200, 0)
    assert sum(read) < 200 * 1500 / 4


@both
def test_guesses_that_always_fail_cost_little(rule, monkeypatch):
    """Wrong guesses never change the picks.

    After some failures max-sum fetches single rows, as the plain loop does.
    """
    x, calls, cosines = clustered(700, 64, shared=0.0, dtype=torch.float64), [], UnitRows.cosines
    expected = ORDERS[rule](x, 200, 0)
    monkeypatch.setattr(cosine_blocks, "lowest", lambda value, count: np.argsort(-value)[:count])
    monkeypatch.setattr(max_sum_blocks, "lowest", lambda value, count: np.flatnonzero(value < np.inf)[-count:])
    monkeypatch.setattr(UnitRows, "cosines", lambda self, chosen: calls.append(len(chosen)) or cosines(self, chosen))
    assert torch.equal(ORDERS[rule](x, 200, 0), expected)
    if rule == "max_sum":
        assert sum(count > 1 for count in calls) < 20


@both
def test_result_is_the_order_sorted(rule):
    x = clustered(80, 16)
    chosen, order = SETS[rule](x, 30, 5), ORDERS[rule](x, 30, 5)
    assert chosen.tolist() == sorted(order.tolist())
    assert order[0] == 5
    assert chosen.tolist() != order.tolist()


@both
def test_one_token_and_all_tokens(rule):
    x = clustered(20, 8)
    assert SETS[rule](x, 1, 11).tolist() == [11]
    assert SETS[rule](x, 20, 11).tolist() == list(range(20))
    assert SETS[rule](x[:1], 1, 0).tolist() == [0]
    assert SETS[rule](torch.zeros(6, 3), 4, 3).tolist() == [0, 1, 2, 3]
    assert SETS[rule](torch.ones(6, 3), 3, 5).tolist() == [0, 1, 5]


@both
def test_twins_tie_wherever_they_stand(rule):
    """Identical tokens stay in index order where products round differently.

    They stand at the ends and in the middle.
    """
    base = clustered(40, 37, seed=4)
    x = torch.cat([base, base, base[:21]])
    order = ORDERS[rule](x, len(x), 2).tolist()
    place = {token: at for at, token in enumerate(order)}
    for token in range(40, len(x)):
        twin = token - 40
        assert place[twin] < place[token]


def test_identical_tokens_are_found_and_read_as_one():
    """Twins get the same result, however a product rounds in different rows."""
    x = torch.tensor([[1.0, -0.0], [2.0, 1.0], [1.0, 0.0], [2.0, 1.0], [1.0, 1.0]])
    wide = torch.cat([torch.ones(5, 20), x], 1)
    assert unit_rows(x).twin.tolist() == unit_rows(wide).twin.tolist() == [0, 1, 0, 1, 4]
    assert unit_rows(wide[[0, 1, 4]]).twin is None
    assert unit_rows(x[[0, 1, 4]]).twin is None
    rows = unit_rows(x)
    uneven = UnitRows(rows.tokens + torch.tensor([0, 0, 1e-7, -1e-7, 0])[:, None], rows.scale, rows.twin)
    products = uneven.products(torch.randn(3, 2))
    assert torch.equal(products[:, 0], products[:, 2])
    assert torch.equal(products[:, 1], products[:, 3])


@both
@pytest.mark.parametrize("device", DEVICES)
def test_batch_equals_singles(rule, device):
    x = torch.stack([clustered(90, 33, seed, shared=seed / 2, dtype=torch.bfloat16) for seed in range(5)]).to(device)
    pivots = torch.tensor([0, 89, 4, 4, 17], device=device)
    batch = ORDERS[rule](x, 40, pivots)
    assert batch.shape == (5, 40)
    for row in range(5):
        assert torch.equal(batch[row], ORDERS[rule](x[row], 40, int(pivots[row])))
    same = ORDERS[rule](x, 40, 6)
    assert torch.equal(same, ORDERS[rule](x, 40, torch.tensor(6)))
    assert torch.equal(same[3], ORDERS[rule](x[3], 40, torch.tensor(6, dtype=torch.int32)))
    assert SETS[rule](x[:0], 40, 6).shape == (0, 40)


@both
def test_reordered_tokens_give_the_same_tokens(rule):
    x = clustered(120, 20, seed=9, dtype=torch.float64)
    to = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    order = ORDERS[rule](x, 50, 8)
    moved = ORDERS[rule](x[to], 50, int((to == 8).nonzero()))
    assert torch.equal(to[moved], order)


@both
def test_scale_of_a_token_does_not_matter(rule):
    x = clustered(60, 12, seed=2)
    exponents = torch.randint(-120, 120, (60, 1), generator=torch.Generator().manual_seed(0))
    assert torch.equal(ORDERS[rule](x * 2.0**exponents, 30, 1), ORDERS[rule](x, 30, 1))
    half = x.to(torch.float16)
    huge = half / half.abs().amax() * torch.finfo(torch.float16).max
    assert_greedy(huge, ORDERS[rule](huge, 30, 1).tolist(), 1, rule, tolerance=2e-6)


@both
def test_strides_gradients_and_the_input_are_left_alone(rule):
    wide = clustered(50, 24, seed=3)
    x = wide[:, ::2].requires_grad_()
    before = x.detach().clone()
    order = ORDERS[rule](x, 20, 0)
    assert torch.equal(order, ORDERS[rule](before, 20, 0))
    assert torch.equal(x, before)
    with torch.inference_mode():
        assert torch.equal(order, ORDERS[rule](before.clone(), 20, 0))


@both
def test_autocast_and_reduced_float32_change_nothing(rule):
    x = clustered(200, 64, seed=5, shared=3.0)
    expected = ORDERS[rule](x, 80, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ORDERS[rule](x, 80, 0), expected)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert ORDERS[rule](x, 80, 0).tolist() == ORDERS[rule](x.double(), 80, 0).tolist()
        assert unit_rows(x).products(x[:2]).dtype == torch.float64
    finally:
        torch.set_float32_matmul_precision(before)


X = torch.ones(2, 5, 3)


@both
@pytest.mark.parametrize(
    ("x", "k", "pivot", "message"),
    [
        (X[0], 6, 0, r"k must lie between 1 and the number of tokens, 5, got 6"),
        (X[0], 0, 0, r"got 0"),
        (X[0], -1, 0, r"got -1"),
        (X[0], True, 0, r"k must be an int, got True"),
        (X[0], 2.0, 0, r"k must be an int, got 2\.0"),
        (X[0], None, 0, r"k must be an int"),
        (X[0], 2, 5, r"pivot must be a token index from 0 to 4, got 5"),
        (X[0], 2, -1, r"got -1"),
        (X[0], 2, False, r"pivot must be an int or a LongTensor, got False"),
        (X[0], 2, 1.0, r"pivot must be an int or a LongTensor, got 1\.0"),
        (X[0], 2, torch.tensor(1.0), r"float32"),
        (X[0], 2, torch.tensor(True), r"bool"),
        (X[0], 2, torch.tensor([1]), r"shape \(\) for this x, got \(1,\)"),
        (X, 2, torch.tensor([1, 2, 3]), r"shape \(\) or \(2,\) for this x, got \(3,\)"),
        (X, 2, torch.tensor([1, 9]), r"got 9"),
        (X[0, 0], 1, 0, r"shape \(n, d\) or \(b, n, d\), got \(3,\)"),
        (X[None], 1, 0, r"got \(1, 2, 5, 3\)"),
        (X[0].long(), 1, 0, r"int64"),
        (X[0].bool(), 1, 0, r"bool"),
        (X[0].to(torch.complex64), 1, 0, r"complex64"),
        ([[1.0]], 1, 0, r"got list"),
        (torch.ones(0, 3), 1, 0, r"at least one token"),
        (torch.ones(3, 0), 1, 0, r"at least one dimension"),
    ],
)
def test_bad_input_is_one_sentence(rule, x, k, pivot, message):
    for call in (ORDERS[rule], SETS[rule]):
        with pytest.raises(InvalidValueError, match=message) as caught:
            call(x, k, pivot)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_that_are_not_finite_are_refused(rule, bad, dtype):
    x = clustered(12, 6, dtype=dtype)
    x[9, 4] = bad
    with pytest.raises(InvalidValueError, match="the first is token 9"):
        ORDERS[rule](x, 3, 0)
    with pytest.raises(InvalidValueError, match="the first is token 9"):
        ORDERS[rule](torch.stack([x.nan_to_num(0, 0, 0), x]), 1, 0)


@both
def test_numbers_like_ints_are_taken(rule):
    x = clustered(12, 6)
    assert torch.equal(SETS[rule](x, np.int64(4), np.int32(2)), SETS[rule](x, 4, 2))
