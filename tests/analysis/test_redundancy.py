"""Redundancies and correlations equal loops over the formulas in float64; attention equals the eager maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.analysis import redundancy, summary
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import Source
from todre.analysis.redundancy import cross_modal, intra_modal, overlap, redundancies_of
from todre.analysis.results import Job
from todre.geometry import visual_token_boxes
from todre.hf.greedy_decoding import greedy_settings
from todre.tensors.columns import TEXT, VISUAL


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def by_hand(visual, text):
    """d and ρ, by loops over eq. 8 and 9."""
    n = len(visual)
    d = [sum(max(0.0, cosine(visual[i], visual[j])) for j in range(n) if j != i) / n for i in range(n)]
    rho = [1 - max(max(0.0, cosine(v, t)) for t in text) for v in visual]
    return np.array(d), np.array(rho)


def by_matrix(visual, text):
    """The same with whole matrices."""
    v, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (visual, text))
    own = np.maximum(v @ v.T, 0)
    np.fill_diagonal(own, 0)
    return own.sum(axis=1) / len(v), 1 - np.maximum(v @ t.T, 0).max(axis=1)


def tokens(n, d, seed, alike=0):
    values = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    values[:alike] = values[0] * torch.arange(1, alike + 1)[:, None]
    return values


@pytest.mark.parametrize(("n", "t", "alike"), [(1, 1, 0), (7, 3, 4), (60, 9, 20), (30, 2, 30)])
def test_redundancies(n, t, alike):
    visual, text = tokens(n, 12, n, alike), tokens(t, 12, 100 + t)
    d, rho = by_hand(visual.double().numpy(), text.double().numpy())
    np.testing.assert_allclose(intra_modal(visual).numpy(), d, atol=1e-12)
    np.testing.assert_allclose(cross_modal(visual, text).numpy(), rho, atol=1e-12)


def test_blocks_change_nothing(monkeypatch):
    visual = tokens(50, 8, 3, 10)
    whole = intra_modal(visual)
    monkeypatch.setattr(redundancy, "_ROWS_AT_ONCE", 7)
    torch.testing.assert_close(intra_modal(visual), whole, atol=1e-14, rtol=0)


def test_half_precision_is_read_exactly():
    visual = tokens(20, 16, 1).half()
    d, _ = by_hand(visual.double().numpy(), visual.double().numpy())
    np.testing.assert_allclose(intra_modal(visual).numpy(), d, atol=1e-12)


def test_overlap_is_the_share_that_least_squares_explains():
    visual, text = tokens(30, 10, 1).double(), tokens(4, 10, 2).double()
    text = torch.cat([text, text[:1] * 3])  # of rank four
    fitted = np.linalg.lstsq(text.T.numpy(), visual.T.numpy(), rcond=None)[0]
    explained = float(((text.T.numpy() @ fitted) ** 2).sum() / (visual.numpy() ** 2).sum())
    inside, chance = overlap(visual, text)
    assert inside == pytest.approx(explained, abs=1e-12)
    assert chance == 0.4
    assert overlap(text, text)[0] == pytest.approx(1.0)
    apart = torch.eye(4)
    assert overlap(apart[:2], apart[2:])[0] == pytest.approx(0.0, abs=1e-15)


def test_a_batch_equals_the_eager_maps_of_its_single_prompts(loaded, eager, source):
    asked = source.questions()[:3]
    records = redundancies_of(loaded, asked)
    for one, record in zip(asked, records, strict=True):
        prompts = prompts_of(eager, [one])
        out = eager.model.generate(
            **prompts.inputs, **greedy_settings(1), output_attentions=True, output_hidden_states=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        boxes = visual_token_boxes(eager.processor, eager.model.config, [one.open().size])
        looking = [place for place, box in enumerate(boxes) if box.kind != "newline"]
        places = (prompts.kinds[0] == VISUAL).nonzero().flatten()[looking]
        rows = prompts.kinds[0] == TEXT
        embeds = out.hidden_states[0][0][0].double().numpy()
        d, rho = by_matrix(embeds[places.numpy()], embeds[rows.numpy()])
        assert record["visual_tokens"] == len(looking) < len(boxes)
        assert record["D"] == pytest.approx(d.mean(), abs=1e-7)
        assert record["R"]["embedding"] == pytest.approx(rho.mean(), abs=1e-7)
        assert record["tokens"]["embedding"]["pearson"] == pytest.approx(np.corrcoef(d, rho)[0, 1], abs=1e-4)
        for layer, attention in enumerate(out.attentions[0], start=1):
            paid = attention[0].double().mean(dim=0)[rows].mean(dim=0)[places].numpy()
            name = f"attention {layer}"
            assert record["R"][name] == pytest.approx(1 - paid.mean(), abs=1e-7)
            assert record["tokens"][name]["pearson"] == pytest.approx(np.corrcoef(d, -paid)[0, 1], abs=1e-3)


NUMBERS = st.lists(st.integers(-5, 5), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.randoms(use_true_random=False))
def test_weighted_correlation_is_that_of_repeated_values(values, random):
    x = np.array(values, dtype=float)
    y = np.array([random.randint(-3, 3) for _ in values], dtype=float)
    counts = np.array([random.randint(0, 3) for _ in values])
    counts[0] += 1
    (found,) = summary.weighted_pearson(x, y, counts[None].astype(float))
    a, b = np.repeat(x, counts), np.repeat(y, counts)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(NUMBERS)
def test_ranks_put_ties_at_their_mean(values):
    x = np.array(values, dtype=float)
    expected = [np.mean([sum(v < one for v in values) + k for k in range(values.count(one))]) for one in values]
    np.testing.assert_allclose(summary.ranks(x), expected)


def test_the_interval_of_a_correlation_resamples_pictures():
    records = [{"picture": str(i // 2), "task": "colour"} for i in range(40)]
    table = summary.Table.of(records)
    x = np.random.default_rng(0).normal(size=40)
    found = table.correlation(x, x + 0.3 * np.random.default_rng(1).normal(size=40))
    assert 0.8 < found["low"] < found["r"] < found["high"] <= 1
    assert table.correlation(x, np.ones(40)) == {"n": 40, "r": None, "low": None, "high": None}
    alone = summary.Table.of(records[:2])
    assert alone.correlation([0, 1], [1, 2]) == {"n": 2, "r": 1.0, "low": None, "high": None}
    assert alone.mean([np.nan, np.nan]) == {"n": 0, "mean": None, "low": None, "high": None}


def test_document(loaded, tmp_path):
    source = Source(limit=4, split="val", size=96, tasks=("presence",))
    found = redundancy.redundancy(Job("redundancy", {}, loaded, source, tmp_path / "r.json", 4))
    intra = [record["D"] for record in found["records"]]
    for name, values in found["cross_modal"].items():
        cross = [record["R"][name] for record in found["records"]]
        assert values["over_questions"]["r"] == pytest.approx(np.corrcoef(intra, cross)[0, 1], abs=1e-5)
        assert values["covariance"] == pytest.approx(np.cov(intra, cross, bias=True)[0, 1], rel=1e-4)
    assert list(found["cross_modal"]) == ["embedding", *(f"attention {layer}" for layer in range(1, 5))]
