"""ERASE: entropies and classes by loops, the cut of each sample in its turn, and what entropy prefers."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.erase import CLIP_MEAN, CLIP_STD, ERASE, grey_entropy
from todre.methods.views.vision_tower import Patches

SIDE, MERGE, FRAMES = 14, 2, 2


def packed(squares, mean=CLIP_MEAN, std=CLIP_STD):
    """Units as a processor packs them, (u, p): patch by patch; channel, frame, row and column within a patch.

    `squares` is (u, 28, 28, 3) of whole numbers from 0 to 255.
    """
    values = (np.asarray(squares) / 255 - np.array(mean)) / np.array(std)
    patches = values.reshape(len(values), MERGE, SIDE, MERGE, SIDE, 3).transpose(0, 1, 3, 5, 2, 4)
    twice = np.repeat(patches[:, :, :, :, None], FRAMES, axis=4)
    return torch.from_numpy(twice.reshape(len(values), -1)).float()


def squares(count, seed):
    """Squares of few or many levels."""
    generator = np.random.default_rng(seed)
    levels = generator.integers(1, 60, count)
    return np.stack([generator.integers(0, level, (28, 28, 3)) * (255 // level) for level in levels])


def entropy(square):
    """Entropy of one square's grey levels, in nats."""
    grey = [(299 * int(r) + 587 * int(g) + 114 * int(b)) // 1000 for r, g, b in square.reshape(-1, 3)]
    return -sum(n / len(grey) * math.log(n / len(grey)) for n in Counter(grey).values())


def grey_square(levels):
    return np.repeat(np.clip(np.asarray(levels), 0, 255).astype(int)[..., None], 3, axis=-1)


@settings(max_examples=15, deadline=None)
@given(
    grids=st.lists(st.tuples(st.just(1), st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3),
    retain=st.sampled_from([0.25, 0.5, 0.9, 1, 5]),
    seed=st.integers(0, 9999),
)
def test_the_first_cut_equals_loops(grids, retain, seed):
    sizes = [frames * rows * columns for frames, rows, columns in grids]
    shown = squares(sum(sizes), seed)
    method = ERASE(retain=retain, thresholds=(3.5, 3.0, 2.0), ratios=(0.9, 0.7, 0.5, 0.3))
    source = method.leave_out(Patches(packed(shown), grids, MERGE)).tolist()
    start = 0
    for size in sizes:
        values = [entropy(square) for square in shown[start : start + size]]
        median = sorted(values)[(size - 1) // 2]
        ratio = 0.9 if median > 3.5 else 0.7 if median > 3.0 else 0.5 if median > 2.0 else 0.3
        least = retain if isinstance(retain, int) else math.ceil(retain * size)
        count = min(size, max(1, int(ratio * size + 1e-9), least))
        best = sorted(sorted(range(size), key=lambda unit: (-round(values[unit], 5), unit))[:count])
        expected = [start + unit if unit in best else start + best[0] for unit in range(size)]
        assert source[start : start + size] == expected
        start += size


@pytest.mark.parametrize(("mean", "std"), [(CLIP_MEAN, CLIP_STD), ((0.5,) * 3, (0.5,) * 3)])
def test_entropy_is_that_of_the_pixels_before_the_processor(mean, std):
    shown = squares(5, 3)
    got = grey_entropy(Patches(packed(shown, mean, std), [(1, 1, 5)], MERGE), mean, std)
    np.testing.assert_allclose(got.numpy(), [entropy(square) for square in shown], atol=1e-5)


def test_entropy_prefers_photographs_and_noise_to_text():
    generator = np.random.default_rng(0)
    page = np.full((28, 28), 255)
    strokes = page.copy()
    strokes[4:24:8, 4:24], strokes[4:24, 12:14] = 0, 0
    noise = 250 + generator.integers(0, 6, (28, 28))
    photograph = 128 + 40 * generator.normal(size=(28, 28))
    shown = np.stack([grey_square(each) for each in (page, strokes, noise, photograph)])
    got = grey_entropy(Patches(packed(shown), [(1, 2, 2)], MERGE), CLIP_MEAN, CLIP_STD).tolist()
    assert got[0] == 0.0
    assert got == sorted(got)
    assert got[1] < 0.5
    assert got[3] > 4.0


def test_ties_go_to_the_first_and_all_can_be_kept():
    flat = np.zeros((8, 28, 28, 3), dtype=int)
    patches = Patches(packed(flat), [(1, 2, 4)], MERGE)
    assert ERASE(retain=0.25, ratios=(0.9, 0.8, 0.6, 0.5)).leave_out(patches).tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    assert ERASE(retain=1.0).leave_out(patches).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("median", "number"), [(2.0, 0), (1.690, 1), (1.5, 1), (1.347, 2), (1.2, 2), (1.172, 3), (0.0, 3)]
)
def test_a_class_begins_above_its_threshold(median, number):
    assert ERASE().complexity_class(median) == number


def test_a_class_is_known_again_by_its_share():
    for name in ("erase", "erase-qwen3"):
        method = registry.create(name)
        for n in (16, 100, 576, 1200):
            counts = [method.entering(ratio, n) for ratio in method.ratios]
            assert [method._is_complex(count, n) for count in counts] == [True, True, counts[2] == counts[1], False]
    three = [100, 37, 51]
    second = sum(ERASE().entering(0.751, n) for n in three)
    assert ERASE()._is_complex(second, sum(three))
    assert not ERASE()._is_complex(sum(ERASE().entering(0.495, n) for n in three), sum(three))


def test_where_it_acts():
    assert ERASE().reduce_after(28) == (2, 17)
    assert ERASE().reduce_after(36) == (2, 22)
    assert registry.create("erase-qwen3").reduce_after(36) == (4, 22)
    assert ERASE(early=3, late=2).reduce_after(8) == (3,)


@settings(max_examples=25, deadline=None)
@given(
    retain=st.sampled_from([1, 3, 0.25, 0.5]),
    layer=st.sampled_from([2, 4]),
    busy=st.lists(st.booleans(), min_size=7, max_size=7),
    seed=st.integers(0, 999),
)
def test_the_second_cut_equals_the_brute_force(retain, layer, busy, seed):
    context = decoder_layers.made(layer=layer, seed=seed)
    fresh = [decoder_layers.fresh_of(context, row) for row in range(len(decoder_layers.ROWS))]
    offered = [len(slots) + (0 if late else 2 * len(slots)) for slots, late in zip(fresh, busy, strict=True)]
    context = dataclasses.replace(context, offered=torch.tensor(offered))
    reduction = ERASE(retain=retain, early=2, late=4).reduce(context)
    for row, slots in enumerate(fresh):
        count = min(retain, offered[row]) if isinstance(retain, int) else max(1, round(retain * offered[row]))
        asking = decoder_layers.text_of(context, row) or [decoder_layers.last_of(context, row)]
        paid = sum(
            decoder_layers.attention(context.attention_inputs, context.kinds, row, place).mean(axis=0)
            for place in asking
        )
        waits = layer == 2 and busy[row]
        expected = slots if waits else decoder_layers.top(slots, np.round(paid, 6), count)
        assert decoder_layers.kept(context, reduction, row) == expected
        assert reduction.left[row] == len(expected)


def test_rows_of_the_second_cut_do_not_see_each_other():
    context = decoder_layers.made(layer=4, seed=5)
    together = ERASE(early=2, late=4).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        single = ERASE(early=2, late=4).reduce(decoder_layers.alone(context, row))
        assert torch.equal(single.keep[0], together.keep[row])


def test_settings():
    assert ERASE.from_dict(ERASE(retain=7).to_dict()) == ERASE(retain=7)
    wrong = ({"thresholds": (1.0, 2.0, 0.5)}, {"ratios": (0.5, 0.6, 0.4, 0.3)}, {"ratios": (0.5, 0.4, 0.3, 0.0)},
             {"std": (0.5, 0.5, 0.0)}, {"late": 0})  # fmt: skip
    for each in wrong:
        with pytest.raises(InvalidValueError):
            ERASE(**each)
