"""VidCom² against loops over tokens and frames in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from methods.examples import anyres, assert_exact, assert_same_in_any_scale, clip, kept, pictures, together
from methods.test_globalcom2 import quotas
from methods.test_vispruner import shares

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.vidcom2 import VidCom2


def alike(token, centre):
    distance = sum((a - b) ** 2 for a, b in zip(token, centre, strict=True))
    return sum(math.exp(-distance / (2 * width)) for width in (1 / 8, 1 / 4, 1 / 2, 1, 2))


def brute_force(visual, k, temperature=0.01):
    newlines = visual.newline.nonzero().flatten().tolist()
    newlines = newlines if len(newlines) < k else newlines[: max(0, k - (len(visual) - len(newlines)))]
    clips = {}
    for i in range(len(visual)):
        if not visual.newline[i]:
            clips.setdefault(int(visual.picture[i]), {}).setdefault(int(visual.frame[i]), []).append(i)
    chosen = list(newlines)
    sizes = [sum(map(len, frames.values())) for frames in clips.values()]
    for frames, share in zip(clips.values(), shares(k - len(newlines), sizes), strict=True):
        members = [i for frame in frames.values() for i in frame]
        x = visual.embeddings[members].double().numpy()
        calm = np.argsort(x.var(axis=0), kind="stable")[: x.shape[1] // 2]
        x = x[:, calm] / np.linalg.norm(x[:, calm], axis=1, keepdims=True)
        at = {i: x[place] for place, i in enumerate(members)}
        to_clip = {i: alike(at[i], x.mean(axis=0)) for i in members}
        score = {}
        for frame in frames.values():
            centre = np.mean([at[i] for i in frame], axis=0)
            score |= {i: to_clip[i] + alike(at[i], centre) for i in frame}
        unlike = [-np.mean([to_clip[i] for i in frame]) / temperature for frame in frames.values()]
        power = [math.exp(value - max(unlike)) for value in unlike]
        sigma = [value / sum(power) for value in power]
        lengths = [len(frame) for frame in frames.values()]
        weights = [(1 + s - np.mean(sigma)) * length for s, length in zip(sigma, lengths, strict=True)]
        counts = quotas(share, weights, lengths)
        while share >= len(counts) and 0 in counts:
            most = counts.index(max(counts))
            counts[counts.index(0)] = 1
            counts[most] -= 1
        for frame, count in zip(frames.values(), counts, strict=True):
            chosen += sorted(frame, key=lambda i: (score[i], i))[:count]
    return sorted(chosen)


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("retain", [1, 5, 6, 0.25, 0.6, 0.95])
def test_the_choice_is_that_of_the_slow_loop(closing, temperature, retain):
    visual = clip(seed=4, frames=5, closing=closing, d=12)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(VidCom2(retain=retain, temperature=temperature), visual) == brute_force(visual, k, temperature)


def test_a_frame_unlike_the_others_gets_more():
    visual = clip(seed=1, frames=4, closing=False, d=12)
    x = 0.1 * visual.embeddings + 1.0
    x[18:27, ::2] -= 2.0
    visual = visual.with_embeddings(x)
    assert kept(VidCom2(retain=12), visual) == brute_force(visual, 12)
    counts = visual.frame[VidCom2(retain=12).select(visual)].bincount(minlength=4)
    assert int(counts.argmax()) == 2
    assert int(counts[2]) > 4


def test_every_frame_keeps_one_token_where_that_is_possible():
    visual = clip(seed=1, frames=8, closing=False)
    for k in range(8, 30):
        assert int(visual.frame[VidCom2(retain=k).select(visual)].bincount(minlength=8).min()) >= 1


def test_clips_and_pictures_together():
    visual = together(pictures(seed=1), clip(seed=2), clip(seed=3, frames=6))
    for retain in (0.1, 0.5, 0.7):
        assert kept(VidCom2(retain=retain), visual) == brute_force(visual, round(retain * len(visual)))


def test_exactly_the_budget():
    for visual in (clip(), clip(frames=2, closing=False), together(pictures(), clip())):
        assert_exact(VidCom2, visual)
        assert_same_in_any_scale(VidCom2(retain=0.6), visual)


def test_a_still_clip_shares_equally():
    visual = clip(frames=4, closing=False)
    visual = visual.with_embeddings(torch.ones(36, 8))
    assert visual.frame[VidCom2(retain=12).select(visual)].bincount().tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("visual", [pictures(), anyres(), clip(frames=1)])
def test_pictures_alone_are_refused(visual):
    with pytest.raises(UnsupportedInputError, match="no clip of two frames"):
        VidCom2().select(visual)


def test_a_bad_temperature_is_refused():
    with pytest.raises(InvalidValueError, match="temperature must be a number above 0, not 0"):
        VidCom2(temperature=0)


def test_a_budget_for_each_frame_is_refused():
    with pytest.raises(InvalidValueError, match="per='frame' leaves it nothing to compare"):
        VidCom2(per="frame")
