"""What methods keep, against brute force written from the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tinymodels as tm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import clip
from methods.making import CLS, visual_tokens_of

import todre
from todre.errors import InvalidValueError, UnknownMethodError, UnsupportedInputError
from todre.methods import registry
from todre.methods.base import budget
from todre.methods.shared.budgets import shares
from todre.tensors.token_facts import Signal


def tokens(n, d=8, seed=0, tiles=None, pictures=None):
    """Random visual tokens; `tiles` gives each token's tile, -1 for newlines. All signals are the same."""
    visual = visual_tokens_of(n, d, seed, tile=tiles, picture=pictures, signals={CLS: None})
    same = {Signal(kind, even=True): visual.saliency for kind in ("auto", "cls", "received")}
    visual.signals.update(same)
    return visual


def greedy(x, k, pivot, rule):
    """Eq. 4-5 of v1 (k-center) or v2's max-sum, from all pairwise cosines in float64."""
    x = x.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = x @ x.T
    chosen = [pivot]
    while len(chosen) < k:
        rest = [v for v in range(len(x)) if v not in chosen]
        value = [max(cosine[v, chosen]) if rule == "k_center" else sum(cosine[v, chosen]) for v in rest]
        chosen.append(rest[int(np.argmin(value))])
    return sorted(chosen)


LAYOUT = [0] * 9 + [1, 1, 1, 2, 2, 2, -1] * 3


@pytest.mark.parametrize("diversity", ["max_sum", "k_center"])
@pytest.mark.parametrize("retain", [1, 5, 12, 0.25])
def test_todre_starts_at_the_most_salient_thumbnail_token(diversity, retain):
    visual = tokens(30, seed=3, tiles=LAYOUT)
    visual.saliency[20] = 5.0  # a crop's token, which may not be the pivot
    keep = todre.ToDRE(retain=retain, diversity=diversity).select(visual)
    pivot = int(visual.saliency[:9].argmax())
    k = retain if isinstance(retain, int) else round(retain * 30)
    assert keep.nonzero().flatten().tolist() == greedy(visual.embeddings, k, pivot, diversity)


def test_versions_differ_as_the_papers_do():
    two, one = todre.ToDRE(), todre.ToDRE.v1()
    assert (two.diversity, two.layers, two.threshold) == ("max_sum", (7 / 8,), 0.10)
    assert (one.diversity, one.layers, one.threshold) == ("k_center", (1 / 2, 5 / 8, 6 / 8, 7 / 8), 0.03)
    assert todre.ToDRE.v1(retain=0.3, threshold=0.5).threshold == 0.5


@pytest.mark.parametrize("pivot", ["random", "center", "farthest", "received"])
def test_other_pivots(pivot):
    visual = tokens(30, seed=5, tiles=LAYOUT)
    x = visual.embeddings.double()
    x = x / x.norm(dim=1, keepdim=True)
    method = todre.ToDRE(retain=1, pivot=pivot, seed=4)
    chosen = int(method.select(visual).nonzero())
    if pivot == "center":
        assert chosen == int((x @ x.mean(0)).argmax())
    if pivot == "farthest":
        assert chosen == int((x @ x.T).sum(1).argmin())
    if pivot == "received":
        assert chosen == int(visual.saliency[:9].argmax())
    assert int(method.select(visual).nonzero()) == chosen


def test_random_pivots_follow_the_seed():
    visual = tokens(30, seed=5)
    picks = {int(todre.ToDRE(retain=1, pivot="random", seed=seed).select(visual).nonzero()) for seed in range(30)}
    assert len(picks) > 5


def test_a_picture_without_crops_lets_all_its_tokens_compete():
    visual = tokens(20, tiles=[0] * 20)
    keep = todre.ToDRE(retain=1).select(visual)
    assert int(keep.nonzero()) == int(visual.saliency.argmax())


def test_newlines_kept_within_the_budget():
    visual = tokens(30, seed=3, tiles=LAYOUT)
    keep = todre.ToDRE(retain=10, newlines="keep").select(visual)
    assert int(keep.sum()) == 10
    assert bool(keep[visual.newline].all())
    patches = (~visual.newline).nonzero().flatten()
    pivot = int(visual.saliency[:9].argmax())
    chosen = greedy(visual.embeddings[patches], 7, pivot, "max_sum")
    assert keep[patches].nonzero().flatten().tolist() == chosen
    with pytest.raises(InvalidValueError, match="3 newline tokens"):
        todre.ToDRE(retain=3, newlines="keep").select(visual)


@pytest.mark.parametrize("diversity", ["max_sum", "k_center"])
def test_newlines_come_last(diversity):
    visual = tokens(30, seed=3, tiles=LAYOUT)
    patches = (~visual.newline).nonzero().flatten()
    pivot = int(visual.saliency[:9].argmax())
    keep = todre.ToDRE(retain=10, newlines="last", diversity=diversity).select(visual)
    assert (
        patches[greedy(visual.embeddings[patches], 10, pivot, diversity)].tolist() == keep.nonzero().flatten().tolist()
    )
    room = len(patches) + 1
    keep = todre.ToDRE(retain=room, newlines="last", diversity=diversity).select(visual)
    assert bool(keep[patches].all())
    assert keep[visual.newline].tolist() == [True, *[False] * (int(visual.newline.sum()) - 1)]
    assert bool(todre.ToDRE(retain=1.0, newlines="last").select(visual).all())
    assert registry.create("todre-patches", retain=10) == todre.ToDRE(retain=10, newlines="last")


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 40),
    retain=st.one_of(st.floats(0.001, 1.0), st.integers(1, 60)),
    seed=st.integers(0, 99),
    name=st.sampled_from(["todre", "todre-v1", "todre-patches", "random", "cls-top-k"]),
)
def test_exactly_the_budget_is_kept(n, retain, seed, name):
    visual = tokens(n, seed=seed)
    keep = registry.create(name, retain=retain).select(visual)
    expected = min(n, retain) if isinstance(retain, int) else max(1, round(retain * n))
    assert keep.shape == (n,)
    assert int(keep.sum()) == expected == budget(retain, n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_shares_are_proportional_and_exact(total, sizes):
    got = shares(total, sizes)
    whole = sum(sizes)
    assert sum(got) == min(total, whole)
    for share, size in zip(got, sizes, strict=True):
        assert abs(share - min(total, whole) * size / whole) < 1
        assert 0 <= share <= size


def test_cls_top_k_takes_the_same_share_of_each_tile():
    visual = tokens(30, seed=3, tiles=LAYOUT)
    keep = todre.CLSTopK(retain=9).select(visual)
    for tile in (0, 1, 2):
        members = (visual.tile == tile).nonzero().flatten().tolist()
        best = sorted(members, key=lambda token: -visual.saliency[token])[:3]
        assert keep[members].nonzero().numel() == 3
        assert all(keep[token] for token in best)


def test_cls_top_k_takes_newlines_last():
    visual = tokens(30, seed=3, tiles=LAYOUT)
    keep = todre.CLSTopK(retain=28).select(visual)
    assert bool(keep[~visual.newline].all())
    assert int(keep.sum()) == 28


def test_cls_top_k_gives_each_frame_of_a_clip_its_share():
    visual = clip(signals={CLS: None}, frames=4, rows=3, columns=3)
    visual.saliency[visual.frame == 2] += 5.0
    keep = todre.CLSTopK(retain=8).select(visual)
    for frame in range(4):
        members = (visual.frame == frame).nonzero().flatten()
        best = members[visual.saliency[members].argsort(descending=True)[:2]]
        assert sorted(best.tolist()) == members[keep[members]].tolist()


@pytest.mark.parametrize("method", [todre.ToDRE(pivot="cls"), todre.CLSTopK()])
def test_missing_saliency_is_an_error(method):
    visual = tokens(10)
    visual.saliency.fill_(torch.nan)
    with pytest.raises(UnsupportedInputError, match="No saliency is known"):
        method.select(visual)


@pytest.mark.parametrize("pivot", ["cls", "received"])
def test_a_signal_that_was_not_asked_for_is_no_pivot(pivot):
    other = visual_tokens_of(10, signals={Signal("cls" if pivot == "received" else "received", even=True): None})
    with pytest.raises(UnsupportedInputError, match="No saliency is known"):
        todre.ToDRE(pivot=pivot).select(other)


def test_without_saliency_the_pivot_is_drawn():
    visual = tokens(10)
    visual.saliency.fill_(torch.nan)
    assert torch.equal(todre.ToDRE().select(visual), todre.ToDRE(pivot="random").select(visual))


BAD = [
    ("retain", 0, "tokens from 1, such as 288, not 0"),
    ("retain", -3, "tokens from 1, such as 288, not -3"),
    ("retain", 0.0, "not 0.0"),
    ("retain", -0.5, "not -0.5"),
    ("retain", 1.5, "not 1.5"),
    ("retain", float("nan"), "not nan"),
    ("retain", float("inf"), "not inf"),
    ("retain", True, "not True"),
    ("retain", "0.1", "not '0.1'"),
    ("retain", None, "not None"),
    ("diversity", "kcenter", "max_sum, k_center, not 'kcenter'"),
    ("pivot", "CLS", "not 'CLS'"),
    ("newlines", "drop", "rank, keep, last, not 'drop'"),
    ("positions", "keep", "original, compact, not 'keep'"),
    ("threshold", 1.2, "not 1.2"),
    ("threshold", float("nan"), "not nan"),
    ("threshold", True, "not True"),
    ("stages", (3,), "a whole number from 1 to 2, not 3"),
    ("stages", (), r"not \(\)"),
    ("layers", (), "a list of at least one, each"),
    ("layers", (0,), "not 0"),
    ("layers", (1.5,), "not 1.5"),
    ("layers", (True,), "not True"),
    ("layers", "7/8", "not '7/8'"),
    ("seed", -1, "not -1"),
    ("seed", 1.5, "not 1.5"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_bad_values_get_one_clear_sentence(field, value, message):
    with pytest.raises(InvalidValueError, match=message) as caught:
        todre.ToDRE(**{field: value})
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_unknown_names_and_fields():
    with pytest.raises(UnknownMethodError, match="did you mean 'todre-v1'"):
        registry.create("todre_v1")
    with pytest.raises(UnknownMethodError, match=r"no method 'zzz'; `todre methods` lists all \d+\.$"):
        registry.create("zzz")
    with pytest.raises(InvalidValueError, match="no setting 'tau'"):
        registry.create("todre", tau=0.1)
    with pytest.raises(InvalidValueError, match="has no field 'tau'"):
        todre.ToDRE.from_dict({"tau": 0.1})


@pytest.mark.parametrize(("kind", "strategy"), [("next-llama", "default"), ("llava", "default"), ("llava", "full")])
@torch.no_grad()
def test_saliency_is_the_towers_own_attention(kind, strategy):
    """Compare with the eager tower's attention maps, packed by hand."""
    from todre.hf.families import family_of
    from todre.tower.capture import SaliencyCapture

    model = tm.build(kind, "eager")
    model.config.vision_feature_select_strategy = strategy
    size = (40, 48)
    generator = torch.Generator().manual_seed(2)
    pixels = [(tm.picture(model, size, generator), size) for _ in range(2)]
    inputs = tm.encode(model, pixels)
    flat = inputs["pixel_values"].reshape(-1, 3, tm.TILE, tm.TILE)
    maps = model.model.vision_tower(flat, output_attentions=True).attentions
    for kind_of, layer in (("cls", -1), ("cls", -2), ("received", -1)):
        capture = SaliencyCapture(model, family_of(model), [Signal(kind_of, layer)])
        encoded = model.get_image_features(**inputs, return_dict=True)
        capture.remove()
        mean = maps[layer].mean(1)
        expected = mean[:, 0, 1:] if kind_of == "cls" else mean.mean(1)[:, 1:]
        for index, facts in enumerate(encoded.todre_facts):
            if kind == "llava":
                start = 1 if strategy == "full" else 0
                torch.testing.assert_close(facts.saliency[start:], expected[index], atol=1e-6, rtol=1e-5)
                assert facts.saliency[:start].isnan().all()
                assert not facts.newline.any()
                continue
            tiles = expected[index * 5 : index * 5 + 5].view(5, 4, 4)
            top, bottom = torch.cat([tiles[1], tiles[2]], 1), torch.cat([tiles[3], tiles[4]], 1)
            whole = torch.cat([top, bottom])[1:7]  # 40 of 48 rows: one patch row unpadded on each side
            rows = torch.cat([whole, torch.full((6, 1), torch.nan)], 1).flatten()
            hand = torch.cat([tiles[0].flatten(), rows])
            torch.testing.assert_close(facts.saliency, hand, atol=1e-6, rtol=1e-5, equal_nan=True)
            assert facts.newline.nonzero().flatten().tolist() == [16 + 8 + 9 * row for row in range(6)]
            assert facts.tile[:16].eq(0).all()


def test_a_tower_is_not_watched_for_a_choice_that_keeps_every_token():
    assert todre.ToDRE(retain=1.0).signals() == ()
    assert [signal.kind for signal in todre.ToDRE(retain=1).signals()] == ["auto"]
