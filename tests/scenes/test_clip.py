"""Moving scenes: deterministic, nothing changes but the actor, answers follow from what is drawn, files read back."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from todre.clips import open_clip
from todre.errors import InvalidValueError, MissingDependencyError
from todre.scenes import SPLITS, make_clip, make_scene, score, write_mp4
from todre.scenes.clip import EVENTS, WAYS
from todre.scenes.vocabulary import COLOURS

SEEDS = st.integers(0, 2**20)


def pixels(frame):
    return np.asarray(frame, dtype=int)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(EVENTS), st.sampled_from([192, (160, 96)]))
def test_equal_arguments_give_equal_clips(seed, event, size):
    one, two = make_clip(seed, 5, size, event=event), make_clip(seed, 5, size, event=event)
    assert [np.array_equal(*pair) for pair in zip(one.frames, two.frames, strict=True)] == [True] * 5
    assert one.questions == two.questions
    assert one.size == ((size, size) if isinstance(size, int) else size)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from(EVENTS), st.integers(2, 9))
def test_nothing_changes_but_the_actor(seed, event, count):
    clip = make_clip(seed, count, event=event)
    still = [thing for thing in clip.objects[0] if all(thing in things for things in clip.objects)]
    assert len(still) >= len(clip.objects[0]) - 1
    first = pixels(clip.frames[0])
    for frame, things in zip(clip.frames, clip.objects, strict=True):
        near = np.zeros(first.shape[:2], dtype=bool)
        for actor in {clip.objects[0][-1], things[-1]}:
            left, right = int(actor.x - actor.half_width) - 3, int(actor.x + actor.half_width) + 4
            top, bottom = int(actor.y - actor.half_height) - 3, int(actor.y + actor.half_height) + 4
            near[max(top, 0) : bottom, max(left, 0) : right] = True
        assert (pixels(frame) == first)[~near].all()


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from(EVENTS), st.integers(2, 9))
def test_the_turn_is_the_first_frame_that_differs(seed, event, count):
    clip = make_clip(seed, count, event=event)
    differs = [not np.array_equal(frame, clip.frames[0]) for frame in clip.frames]
    assert differs.index(True) == clip.turn
    assert all(differs[clip.turn :])


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 9), st.sampled_from([192, 64, (96, 192)]))
def test_answers_can_be_read_from_the_pixels(seed, count, size):
    """Where the frames differ, the picture's own centre of mass and colour say what the question asks."""
    for event in EVENTS:
        clip = make_clip(seed, count, size, event=event)
        (question,) = clip.questions
        assert question.answer in question.choices
        assert score(question, question.answer) == 1.0
        first, last = pixels(clip.frames[0]), pixels(clip.frames[-1])
        changed = np.abs(last - first).sum(axis=2) > 60
        rows, columns = np.nonzero(changed)
        if event == "changes":
            centre = last[round(rows.mean()), round(columns.mean())]
            actor = clip.objects[-1][-1]
            if actor.shape not in ("ring", "star"):
                nearest = min(COLOURS, key=lambda name: np.abs(np.array(COLOURS[name]) - centre).sum())
                assert nearest == question.answer
        if event == "moves":
            dx, dy = WAYS[question.answer]
            spread = (np.ptp(columns), np.ptp(rows))
            assert (spread[0] > spread[1]) == bool(dx)
            steps = [(things[-1].x, things[-1].y) for things in clip.objects]
            assert all((b[0] - a[0]) * dx + (b[1] - a[1]) * dy > 0 for a, b in pairwise(steps))
        if event == "appears":
            assert all(thing.name != question.answer for thing in clip.objects[0])
            assert clip.objects[-1][-1].name == question.answer


def test_events_ways_and_splits_all_occur():
    clips = [make_clip(seed, 2, 96) for seed in range(60)]
    assert {clip.event for clip in clips} == set(EVENTS)
    answers = {clip.questions[0].answer for clip in clips if clip.event == "moves"}
    assert answers == set(WAYS)
    frames = [make_clip(3, 2, split=split).frames[0].tobytes() for split in SPLITS]
    assert len(set(frames)) == len(SPLITS)


def test_a_clip_is_not_the_still_scene_of_its_seed():
    assert make_clip(5).frames[0].tobytes() != make_scene(5).image.tobytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"seed": -1}, "seed"), ({"frames": 1}, "at least 2"), ({"frames": True}, "at least 2"),
     ({"size": 20}, "20 by 20"), ({"split": "dev"}, "'dev'"), ({"event": "explodes"}, "'explodes'")],
)  # fmt: skip
def test_arguments_outside_the_world(arguments, word):
    with pytest.raises(InvalidValueError, match=word):
        make_clip(**{"seed": 0, **arguments})


@pytest.mark.parametrize("encoder", ["h264", "mpeg4"])
@pytest.mark.parametrize("size", [192, (97, 65)])
def test_files_read_back(tmp_path, monkeypatch, encoder, size):
    if encoder == "mpeg4":
        monkeypatch.setattr("av.codecs_available", set())
    clip = make_clip(7, 8, size, event="moves")
    write_mp4(clip.frames, tmp_path / "a.mp4", fps=12.5)
    read = open_clip(tmp_path / "a.mp4", 8)
    assert (read.size, read.indices, read.fps) == (clip.size, tuple(range(8)), 12.5)
    assert read.timestamps == pytest.approx([i / 12.5 for i in range(8)], abs=1e-3)
    for made, found in zip(clip.frames, read.frames, strict=True):
        assert np.abs(pixels(made) - pixels(found)).mean() < 8
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]


def test_a_failed_write_leaves_nothing(tmp_path):
    class Broken(Image.Image):
        size = (64, 64)

        def convert(self, *_):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_mp4([Image.new("RGB", (64, 64)), Broken()], tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path, monkeypatch):
    frame = Image.new("RGB", (64, 64))
    for frames in ([], [frame, Image.new("RGB", (64, 66))]):
        with pytest.raises(InvalidValueError, match="one size"):
            write_mp4(frames, tmp_path / "a.mp4")
    for fps in (0, float("nan"), float("inf"), -2):
        with pytest.raises(InvalidValueError, match="fps must be"):
            write_mp4([frame], tmp_path / "a.mp4", fps)
    monkeypatch.setattr("todre.clips.source.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="PyAV"):
        write_mp4([frame], tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
