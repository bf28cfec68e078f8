"""HoloV against loops over stretches in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, together
from methods.making import visual_tokens_of
from methods.test_globalcom2 import quotas
from methods.test_vispruner import shares

from todre.errors import InvalidValueError
from todre.methods.holov import HoloV
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -2)


def cut(members, count):
    """Consecutive stretches; the first ones are longer by one."""
    count = min(count, len(members))
    found, start = [], 0
    for place in range(count):
        size = len(members) // count + (place < len(members) % count)
        found.append(members[start : start + size])
        start += size
    return found


def variances(x, stretch):
    """Variance of each token's cosines with the others of its stretch."""
    found = []
    for i in stretch:
        cosines = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in stretch if j != i]
        found.append(float(np.var(cosines)) if cosines else 0.0)
    return found


def brute_force(visual, k, count, rescale):
    x, a = visual.embeddings.double().numpy(), visual.signals[AUTO].double().numpy()
    newline = visual.newline.tolist()
    others = len(newline) - sum(newline)
    chosen = [i for i in range(len(newline)) if newline[i]][: max(0, k - others)]
    found = {}
    for i, key in enumerate(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)):
        if not newline[i]:
            found.setdefault(key, []).append(i)
    for members, share in zip(found.values(), shares(min(k, others), [len(m) for m in found.values()]), strict=True):
        stretches = cut(members, count)
        variance = {i: v for stretch in stretches for i, v in zip(stretch, variances(x, stretch), strict=True)}
        weights = []
        for stretch in stretches:
            over = stretch if rescale == "stretch" else members
            scale = np.mean([a[i] for i in over]) / (np.mean([variance[i] for i in over]) + 1e-6)
            weights.append(np.mean([a[i] + 0.09 * scale * variance[i] for i in stretch]))
        for stretch, quota in zip(stretches, quotas(share, weights, [len(s) for s in stretches]), strict=True):
            chosen += order_of(a, stretch)[:quota]
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("rescale", ["stretch", "tile"])
@pytest.mark.parametrize(("retain", "count"), [(1, 16), (0.25, 3), (0.5, 4), (0.8, 16), (0.3, 1)])
def test_the_choice_is_that_of_the_slow_loop(name, rescale, retain, count):
    visual = STILL[name](seed=5, signals={AUTO: None})
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    method = HoloV(retain=retain, stretches=count, rescale=rescale)
    assert kept(method, visual) == brute_force(visual, k, count, rescale)


def test_a_stretch_that_overflows_gives_to_the_others():
    values = torch.full((16,), 0.01)
    values[:4] = 100.0
    visual = visual_tokens_of(16, signals={AUTO: values})
    keep = HoloV(retain=8, stretches=4).select(visual).view(4, 4)
    assert bool(keep[0].all())
    assert sorted(keep[1:].sum(dim=1).tolist()) == [1, 1, 2]


def test_variety_counts_only_where_it_is_rescaled_over_the_tile():
    """Two stretches get equal attention, but only the second has varied tokens."""
    noise = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    x = torch.cat([1 + 0.3 * noise[:16], noise[16:]])
    visual = visual_tokens_of(32, embeddings=x, signals={AUTO: torch.ones(32)})
    first = {
        rescale: int(HoloV(retain=24, stretches=2, rescale=rescale).select(visual)[:16].sum())
        for rescale in ("stretch", "tile")
    }
    assert first == {"stretch": 12, "tile": 11}


def test_zero_attention_shares_by_length():
    visual = visual_tokens_of(12, signals={AUTO: torch.zeros(12)})
    assert kept(HoloV(retain=4, stretches=4), visual) == [0, 3, 6, 9]


@pytest.mark.parametrize("rescale", ["stretch", "tile"])
@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name, rescale):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(lambda **fields: HoloV(rescale=rescale, stretches=4, **fields), visual)
    assert_same_in_any_scale(HoloV(retain=0.4, rescale=rescale), visual)


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, signals={AUTO: None}) for i, make in enumerate(STILL.values())))
    assert kept(HoloV(retain=0.3), visual) == brute_force(visual, round(0.3 * len(visual)), 16, "stretch")


@pytest.mark.parametrize(("field", "value"), [("stretches", 0), ("stretches", 2.5), ("rescale", "no")])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        HoloV(**{field: value})
