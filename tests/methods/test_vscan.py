"""VScan against float64 loops: greedy picks by window, means of members, a later cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers
from methods.examples import STILL, check_merging, order_of, placeless, together
from methods.making import visual_tokens_of
from methods.test_reducers_ranking import peeked_scores
from methods.test_visionzip import cosine, quotas, tiles_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.vscan import VScan
from todre.tensors.token_facts import Signal

SHALLOW, DEEP = Signal("auto", 7 / 32), Signal("auto", -2)
BOTH = {SHALLOW: None, DEEP: None}


def window_of(visual, tile, size):
    """The window of each token of a tile; what fills no window of its own joins the last."""
    result = {}
    for axis, line in enumerate((visual.row, visual.column)):
        first, last = min(int(line[i]) for i in tile), max(int(line[i]) for i in tile)
        whole = max((last - first + 1) // size, 1)
        for i in tile:
            result.setdefault(i, [0, 0])[axis] = min((int(line[i]) - first) // size, whole - 1)
    return {i: tuple(place) for i, place in result.items()}


def picks_of(visual, tile, share, method):
    """One pass in the order of the shallow layer, with room in each window; then the deep layer."""
    window, local = window_of(visual, tile, method.window), int(share * method.local)
    limit = math.ceil(local / len(set(window.values())))
    picks, filled = [], {}
    for i in order_of(visual.signals[SHALLOW], tile):
        if len(picks) < local and filled.get(window[i], 0) < limit:
            picks.append(i)
            filled[window[i]] = filled.get(window[i], 0) + 1
    rest = [i for i in order_of(visual.signals[DEEP], tile) if i not in picks]
    return picks + rest[: share - len(picks)]


def brute(visual, k, method):
    """Indices and embeddings of the kept tokens, without newline tokens that come last."""
    x = visual.embeddings.double().numpy()
    tiles = tiles_of(visual)
    counts, newlines_stay = quotas(visual, k, tiles)
    result = {i: x[i] for i in range(len(visual)) if newlines_stay and visual.newline[i]}
    for tile, share in zip(tiles, counts, strict=True):
        kept = tile[:share] if share in (0, len(tile)) else sorted(picks_of(visual, tile, share, method))
        members = {j: [x[j]] for j in kept}
        for i in tile if kept and method.merging else []:
            if i not in kept:
                members[max(kept, key=lambda j, i=i: cosine(x[i], x[j]))].append(x[i])
        result |= {j: np.mean(group, axis=0) for j, group in members.items()}
    return result


def check(visual, k, method):
    check_merging(method.select(visual), visual, brute(visual, k, method), k)


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    window=st.integers(1, 6),
    local=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    merging=st.booleans(),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, window, local, merging, data):
    visual = STILL[name](seed, signals=BOTH)
    k = data.draw(st.integers(1, len(visual)))
    check(visual, k, VScan(retain=k, window=window, local=local, merging=merging))


def test_pictures_and_clips_in_one_sample():
    visual = together(*(make(seed=i, signals=BOTH) for i, make in enumerate(STILL.values())))
    check(visual, 40, VScan(retain=40, window=2))


def test_a_sample_that_lost_tokens_before():
    visual = STILL["anyres"](seed=5, signals=BOTH)
    check(visual.take((torch.arange(len(visual)) % 3 > 0).nonzero().flatten()), 20, VScan(retain=20, window=2))


def test_each_window_of_llava_has_its_picks():
    """24 × 24 tokens, 16 windows, 96 tokens: 3 by window from each, as the LLaVA scripts have it."""
    visual = visual_tokens_of(576, 4, column=24, signals=BOTH)
    keep = VScan(stages=(1,)).select(visual).keep
    assert int(keep.sum()) == 96
    shallow = visual.signals[SHALLOW].view(4, 6, 4, 6).transpose(1, 2).reshape(16, 36)
    best = torch.zeros(16, 36, dtype=torch.bool).scatter_(1, shallow.topk(3).indices, True)
    by_window = best.view(4, 4, 6, 6).transpose(1, 2).reshape(576)
    assert bool(keep[by_window].all())
    rest = visual.signals[DEEP].masked_fill(by_window, -1)
    assert keep.nonzero().flatten().tolist() == sorted([*by_window.nonzero().flatten(), *rest.topk(48).indices])


@pytest.mark.parametrize("k", [1, 2, 15, 16, 17, 31, 40, 575, 576])
def test_the_count_is_met_where_windows_do_not_divide_it(k):
    """The released LLaVA code keeps 36 of 40."""
    visual = visual_tokens_of(576, 4, column=24, signals=BOTH)
    assert int(VScan(retain=k).select(visual).keep.sum()) == k


def test_windows_at_the_edge_join_the_last():
    visual = visual_tokens_of(10 * 10, 4, column=10, signals={SHALLOW: torch.arange(100.0), DEEP: torch.zeros(100)})
    kept = VScan(retain=4, window=4, local=1.0).select(visual).keep.nonzero().flatten().tolist()
    assert kept == [33, 39, 93, 99]  # windows of 4 and 6 rows and columns, each its last token


def test_equal_tokens_and_unknown_attention():
    n = 16
    signals = {SHALLOW: torch.ones(n), DEEP: torch.full((n,), torch.nan)}
    visual = visual_tokens_of(n, column=4, signals=signals, embeddings=torch.ones(n, 4))
    selection = VScan(retain=6, window=2).select(visual)
    assert selection.keep.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 8]  # 0, 2 and 8 are the windows' first
    torch.testing.assert_close(selection.embeddings, torch.ones(n, 4))


@pytest.mark.parametrize("name", sorted(STILL))
def test_keeping_all_changes_no_bit(name):
    visual = STILL[name](signals=BOTH)
    selection = VScan(retain=1.0).select(visual)
    assert bool(selection.keep.all())
    assert torch.equal(selection.embeddings, visual.embeddings)


def test_half_precision_sums_in_single():
    visual = STILL["clip"](signals=BOTH)
    half = visual.with_embeddings(visual.embeddings.bfloat16())
    got, want = VScan(retain=10).select(half), VScan(retain=10).select(half.with_embeddings(half.embeddings.float()))
    assert got.embeddings.dtype == torch.bfloat16
    assert torch.equal(got.keep, want.keep)
    assert torch.equal(got.embeddings[got.keep], want.embeddings[want.keep].bfloat16())


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 0.0)])
@pytest.mark.parametrize("deep", [1, 3, 0.5, 1.0])
def test_stage_2_ranks_by_what_the_next_layer_would_see(queries, scale, deep):
    context = decoder_layers.made(queries=queries, scale=scale, layer=4, seed=5)
    reduction = VScan(deep=deep).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        count = deep if isinstance(deep, int) else max(1, round(deep * len(slots)))
        want = decoder_layers.top(slots, peeked_scores(context, row), count) if slots else []
        assert decoder_layers.kept(context, reduction, row) == want
        if slots:
            assert torch.equal(VScan(deep=deep).reduce(decoder_layers.alone(context, row)).keep[0], reduction.keep[row])


def test_stages_can_be_left_out():
    first, second = VScan(stages=(1,)), VScan(stages=(2,))
    assert (first.selects, first.signals(), first.reduce_after(32)) == (True, (SHALLOW, DEEP), ())
    assert (second.selects, second.signals(), second.reduce_after(32)) == (False, (), (16,))
    assert VScan().reduce_after(28) == (14,)
    assert VScan(layer=1.0).reduce_after(8) == ()
    assert VScan(retain=96 / 576).kept_of(576) == 96


def test_tokens_without_a_place_are_refused():
    with pytest.raises(UnsupportedInputError, match="row and column"):
        VScan(retain=3).select(placeless(signals=BOTH))
    with pytest.raises(UnsupportedInputError, match="No auto signal"):
        VScan(retain=3).select(visual_tokens_of(9, column=3))


def test_bad_values_are_refused():
    assert VScan.from_dict(VScan(window=4, stages=(2,)).to_dict()) == VScan(window=4, stages=(2,))
    wrong = ({"retain": 0}, {"deep": 0}, {"window": 0}, {"local": 2}, {"stages": (3,)}, {"stages": ()}, {"layer": 0})
    for one in wrong:
        with pytest.raises(InvalidValueError):
            VScan(**one)
