"""GlobalCom² against float64 loops, and its quotas against the authors' division."""

from __future__ import annotations

import math

import pytest
import torch
from methods.examples import STILL, anyres, assert_exact, assert_same_in_any_scale, clip, kept, order_of, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.globalcom2 import GlobalCom2
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -1)


def bilinear(small, rows, columns):
    """Upsampling with half-pixel centres, place by place."""
    high, wide = len(small), len(small[0])

    def sample(place, size, target):
        where = max(0.0, (place + 0.5) * size / target - 0.5)
        low = min(int(where), size - 1)
        return low, min(low + 1, size - 1), where - low

    result = [[0.0] * columns for _ in range(rows)]
    for r in range(rows):
        top, bottom, v = sample(r, high, rows)
        for c in range(columns):
            left, right, h = sample(c, wide, columns)
            above = small[top][left] * (1 - h) + small[top][right] * h
            below = small[bottom][left] * (1 - h) + small[bottom][right] * h
            result[r][c] = above * (1 - v) + below * v
    return result


def normal(values):
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm if norm else 0.0 for value in values]


def quotas(total, weights, caps):
    """Fill the parts that overflow, then round by largest remainder."""
    given, open_ = [0.0] * len(caps), list(range(len(caps)))
    while open_:
        left = total - sum(caps[i] for i in range(len(caps)) if i not in open_)
        whole = sum(weights[i] for i in open_)
        over = [i for i in open_ if left * weights[i] / whole >= caps[i]]
        if not over:
            for i in open_:
                given[i] = left * weights[i] / whole
            break
        open_.remove(over[0])
        given[over[0]] = float(caps[over[0]])
    floors = [int(share) for share in given]
    for i in sorted(range(len(caps)), key=lambda i: (floors[i] - given[i], i))[: total - sum(floors)]:
        floors[i] += 1
    return floors


def brute_force(visual, k):
    """Kept tokens of one picture with a thumbnail and crops."""
    a = {i: float(value) for i, value in enumerate(visual.signals[AUTO].double())}
    tile, row, column = visual.tile.tolist(), visual.row.tolist(), visual.column.tolist()
    members = {t: [i for i in range(len(tile)) if tile[i] == t] for t in sorted(set(tile)) if t >= 0}
    numbers = [t for t in members if t > 0]
    rows, columns = (1 + max(side[i] for t in numbers for i in members[t]) for side in (row, column))
    high, wide = (1 + max(side[i] for i in members[0]) for side in (row, column))
    small = [[0.0] * wide for _ in range(high)]
    for i in members[0]:
        small[row[i]][column[i]] = a[i]
    at = {(row[i], column[i]): t for t in numbers for i in members[t]}
    mass = dict.fromkeys(numbers, 0.0)
    for r in range(high):
        for c in range(wide):
            mass[at[math.floor((r + 0.5) * rows / high), math.floor((c + 0.5) * columns / wide)]] += small[r][c]
    largest = max(mass.values())
    powers = {t: math.exp((mass[t] - largest) / 10) for t in numbers}
    sigma = {t: powers[t] / sum(powers.values()) for t in numbers}
    mean = sum(sigma.values()) / len(sigma)
    united = bilinear(small, rows, columns)
    newlines = [i for i in range(len(tile)) if tile[i] < 0]
    newlines = newlines if len(newlines) < k else []
    weights = [len(members[t]) * (1 + sigma[t] - mean if t else 1) for t in members]
    counts = quotas(k - len(newlines), weights, [len(part) for part in members.values()])
    chosen = list(newlines)
    for (t, part), count in zip(members.items(), counts, strict=True):
        if t == 0:
            chosen += order_of(a, part)[:count]
            continue
        own = normal([a[i] for i in part])
        guide = normal([united[row[i]][column[i]] for i in part])
        score = {i: x + y for i, x, y in zip(part, own, guide, strict=True)}
        chosen += order_of(score, part)[:count]
    return sorted(chosen)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (6, 8), (4, 12), (8, 5), (7, 4)])
@pytest.mark.parametrize("k", [4, 15, 30, 44])
def test_the_choice_is_that_of_the_slow_loop(rows, columns, k):
    visual = anyres(seed=rows + k, signals={AUTO: None}, rows=rows, columns=columns)
    assert kept(GlobalCom2(retain=k), visual) == brute_force(visual, k)


def test_strong_attention_moves_the_quotas():
    """The attention is far larger than a softmax gives.

    Otherwise the temperature would hide the rule.
    """
    values = torch.rand(16 + 72, generator=torch.Generator().manual_seed(1))
    values[[0, 1, 4, 5]] += 30
    visual = anyres(rows=8, columns=8, signals={AUTO: values})
    method = GlobalCom2(retain=48)
    assert kept(method, visual) == brute_force(visual, 48)
    counts = visual.tile[method.select(visual)].clamp(min=-1).add(1).bincount(minlength=6).tolist()
    assert counts[0] == 8  # newlines
    assert counts[2] == 40 * 28 // 80  # the crop that the thumbnail stresses: 16 · 1.75 of 16 + 28 + 3 · 12
    assert counts[2] > max(counts[3:])


def test_quotas_in_the_authors_division():
    """With four crops of equal size the thumbnail falls into quarters."""
    values = torch.arange(16 + 72, dtype=torch.float32)
    visual = anyres(rows=8, columns=8, signals={AUTO: values})
    blocks = values[:16].view(2, 2, 2, 2).sum(dim=(1, 3)).flatten()
    sigma = ((blocks - blocks.max()) / 10).softmax(0)
    scale = 1 + sigma - sigma.mean()
    expected = quotas(32, [16.0] + [16 * float(value) for value in scale], [16] * 5)
    keep = GlobalCom2(retain=40).select(visual)
    assert visual.tile[keep & ~visual.newline].bincount(minlength=5).tolist() == expected


def test_pictures_without_crops_keep_their_most_attended_tokens():
    visual = STILL["pictures"](signals={AUTO: None})
    keep = GlobalCom2(retain=12).select(visual)
    for picture in range(3):
        members = (visual.picture == picture).nonzero().flatten().tolist()
        count = int(keep[members].sum())
        ranked = order_of(visual.signals[AUTO], members)
        assert sorted(ranked[:count]) == [i for i in members if keep[i]]


def without_thumbnail(**fields):
    return anyres(**fields).take(torch.arange(16, 70))


def mixed(**fields):
    return together(anyres(**fields), clip(**fields), anyres(rows=3, **fields))


@pytest.mark.parametrize("make", [anyres, clip, mixed, without_thumbnail])
def test_exactly_the_budget(make):
    visual = make(signals={AUTO: None})
    assert_exact(GlobalCom2, visual)
    assert_same_in_any_scale(GlobalCom2(retain=0.4), visual)


def test_zero_attention_is_no_division_by_zero():
    visual = anyres(signals={AUTO: torch.zeros(70)})
    keep = GlobalCom2(retain=26).select(visual)
    assert kept(GlobalCom2(retain=26), visual) == brute_force(visual, 26)
    assert int(keep[:16].sum()) == 5


def test_unknown_places_are_refused():
    visual = visual_tokens_of(8, tile=[0] * 4 + [1] * 4, signals={AUTO: None})
    with pytest.raises(UnsupportedInputError, match="needs the row and column"):
        GlobalCom2(retain=2).select(visual)
    with pytest.raises(UnsupportedInputError, match="No auto signal"):
        GlobalCom2(retain=2).select(visual_tokens_of(8))


def test_a_bad_value_is_refused():
    with pytest.raises(InvalidValueError, match="not 'max'"):
        GlobalCom2(attention="max")
