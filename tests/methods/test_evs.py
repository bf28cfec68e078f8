"""EVS against a loop over the places of each frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import anyres, assert_exact, assert_same_in_any_scale, clip, kept, pictures, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.evs import EVS


def brute_force(visual, k):
    """Score 255 in the first frame, 1 - cosine later, the largest scores of all."""
    x = visual.embeddings.double().numpy()
    newlines = visual.newline.nonzero().flatten().tolist()
    newlines = newlines if len(newlines) < k else newlines[: max(0, k - (len(visual) - len(newlines)))]
    room, score, places = k - len(newlines), {}, {}
    for i in range(len(visual)):
        if visual.newline[i]:
            continue
        where = [int(fact[i]) for fact in (visual.picture, visual.frame, visual.tile, visual.row, visual.column)]
        place = (where[0], where[2], where[3], where[4]) if where[3] >= 0 else None
        before = places.get((where[1] - 1, place))
        places[where[1], place] = i
        score[i] = 255.0
        if before is not None:
            cosine = x[i] @ x[before] / np.linalg.norm(x[i]) / np.linalg.norm(x[before])
            score[i] = 0.0 if (x[i] == x[before]).all() else 1 - cosine
    first = [i for i in score if score[i] == 255.0]
    if room <= len(first):
        return sorted(newlines + [first[int((j + 0.5) * len(first) / room + 1e-9)] for j in range(room)])
    return sorted(newlines + sorted(score, key=lambda i: (-score[i], i))[:room])


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("retain", [1, 5, 9, 10, 0.4, 0.8])
def test_the_choice_is_that_of_the_slow_loop(closing, retain):
    visual = clip(seed=4, frames=5, closing=closing)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(EVS(retain=retain), visual) == brute_force(visual, k)


def test_a_still_clip_keeps_its_first_frame_and_then_the_first_tokens():
    visual = clip(frames=4, closing=False)
    visual = visual.with_embeddings(visual.embeddings[:9].repeat(4, 1))
    assert kept(EVS(retain=12), visual) == list(range(12))


def test_what_moves_is_kept():
    visual = clip(frames=3, closing=False)
    x = visual.embeddings[:9].repeat(3, 1)
    x[9 + 4] = -x[4]
    visual = visual.with_embeddings(x)
    assert kept(EVS(retain=11), visual) == [*range(9), 13, 22]


def test_without_places_tokens_are_matched_by_their_number():
    visual = clip(frames=4, closing=False)
    bare = visual_tokens_of(36, frame=visual.frame.tolist(), embeddings=visual.embeddings)
    assert kept(EVS(retain=20), bare) == kept(EVS(retain=20), visual)


def test_a_token_whose_predecessor_is_gone_counts_as_new():
    visual = clip(frames=4, closing=False)
    visual = visual.take(torch.tensor([i for i in range(36) if i not in (3, 17)]))
    keep = kept(EVS(retain=10), visual)
    assert keep == brute_force(visual, 10)
    assert visual.frame[keep].tolist() == [0] * 8 + [1, 2]


def test_clips_and_pictures_together():
    visual = together(pictures(seed=1), clip(seed=2), clip(seed=3, frames=6))
    for retain in (0.1, 0.5, 0.7):
        assert kept(EVS(retain=retain), visual) == brute_force(visual, round(retain * len(visual)))


def test_exactly_the_budget():
    for visual in (clip(), clip(frames=2, closing=False), together(pictures(), clip())):
        assert_exact(EVS, visual)
        assert_same_in_any_scale(EVS(retain=0.6), visual)


@pytest.mark.parametrize("visual", [pictures(), anyres(), clip(frames=1)])
def test_pictures_alone_are_refused(visual):
    with pytest.raises(UnsupportedInputError, match="no clip of two frames"):
        EVS().select(visual)


def test_a_bad_budget_is_refused():
    with pytest.raises(InvalidValueError, match=r"not 1\.5"):
        EVS(retain=1.5)


def test_a_budget_for_each_frame_is_refused():
    with pytest.raises(InvalidValueError, match="per='frame' leaves it nothing to compare"):
        EVS(per="frame")
