"""Clips on the page: against the clip answered by itself, and where its tokens lie on the sheet of frames."""

import re
import shlex

import pytest
from clipfiles import write
from PIL import Image

from todre.clips import Clip, clip_of_frames, open_clip
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.geometry import TokenBox
from todre.loading import load
from todre.methods import registry
from todre.page import cards
from todre.page.answering import SETTINGS, Outcome, answer_all
from todre.page.attention import attention
from todre.page.clips import open_dropped, sheet, still, takes_clips
from todre.page.copies import Running, command, snippet
from todre.page.wish import MOST_FRAMES, Wish, check_frames
from todre.running import answer
from todre.scenes import make_scene

FRAMES = 4
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250), (9, 9, 9), (90, 90, 90)]


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """An animated GIF of eight scenes."""
    path = tmp_path_factory.mktemp("clips") / "moving one.gif"
    first, *others = [make_scene(seed).image.resize((120, 90)) for seed in range(8)]
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


@pytest.fixture(scope="module")
def loaded():
    return load("todre-tiny-video", device="cpu")


@pytest.fixture(scope="module")
def still_model():
    return load(device="cpu")


@pytest.fixture(scope="module")
def clip(loaded, moving):
    return open_dropped(loaded, str(moving), FRAMES)


@pytest.fixture(scope="module")
def outcomes(loaded, clip):
    given = []
    wish = Wish(methods=("none", "todre"), share=0.2, picture="", frames=FRAMES)
    answer_all(loaded, clip, wish, given.append, lambda: False)
    return {one.name: one for one in given if isinstance(one, Outcome)}


def test_an_animation_is_a_clip_where_the_model_takes_clips(loaded, still_model, clip, moving):
    assert isinstance(clip, Clip)
    assert clip.indices == (0, 2, 4, 6)
    assert takes_clips(loaded)
    assert not takes_clips(still_model)
    first = open_dropped(still_model, str(moving), FRAMES)
    assert first.tobytes() == clip.frames[0].tobytes()


def test_a_video_is_a_clip(loaded, tmp_path):
    path = write(tmp_path / "a.mp4", 12)
    assert open_dropped(loaded, str(path), 5) == open_clip(path, 5)


def test_a_video_is_refused_where_the_model_takes_none(still_model, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64))
    with pytest.raises(UnsupportedInputError, match=r"a\.mp4 is a video, and todre-tiny takes pictures and no clips"):
        open_dropped(still_model, str(path), FRAMES)


def test_each_answer_is_that_of_asking_about_the_clip(loaded, clip, outcomes):
    for name, method in (("none", registry.create("none")), ("todre", registry.create("todre", retain=0.2))):
        alone = answer(loaded, [clip], Wish().question, method, SETTINGS).to_dict()
        found = outcomes[name].answer.to_dict()
        for moving in ("timings_ms", "peak_bytes"):
            del alone[moving], found[moving]
        assert found == alone
        assert found["media"] == ["clip"]


def test_a_kept_token_lies_on_the_frame_that_it_names(loaded, clip, outcomes):
    found = outcomes["todre"]
    text = cards.drawing(loaded, clip, found)
    width, height = still(clip).size
    across, down = (width + 6) / 2, (height + 6) / 2  # four frames are two by two
    drawn = re.findall(
        r'data-say="Token (\d+) of \d+ \(grid\): x [^"]*? of frame (\d)[^"]*" x="([\d.]+)" y="([\d.]+)" '
        r'width="([\d.]+)" height="([\d.]+)"',
        text,
    )
    assert sorted(int(token) for token, *_ in drawn) == sorted(found.answer.report.survivors(0))
    for _, frame, *numbers in drawn:
        x, y, right, bottom = (float(number) for number in numbers)
        assert int(frame) == 1 + int((x + right / 2) // across) + 2 * int((y + bottom / 2) // down)


def test_a_sheet_shows_every_frame_and_each_look_of_a_token():
    clip = clip_of_frames([Image.new("RGB", (60, 30), colour) for colour in COLOURS[:5]])
    boxes = [
        TokenBox(image=0, kind="grid", left=0, top=0, right=30, bottom=30, frame=1, frames=2),
        TokenBox(image=0, kind="grid", left=30, top=0, right=60, bottom=30, frame=4),
    ]
    laid = sheet(clip, boxes)
    assert laid.picture.size == (3 * 66 - 6, 2 * 36 - 6)
    assert laid.tokens == (0, 0, 1)
    for box, frame in zip(laid.boxes, (1, 2, 4), strict=True):
        inside = laid.picture.crop((round(box.left), round(box.top), round(box.right), round(box.bottom)))
        assert inside.size == (30, 30)
        assert inside.getcolors() == [(900, COLOURS[frame])]
    assert laid.boxes[2].left == 66 + 30


def test_large_frames_are_made_smaller():
    clip = clip_of_frames([Image.new("RGB", (2000, 500))] * MOST_FRAMES)
    laid = sheet(clip, [TokenBox(image=0, kind="grid", left=0, top=0, right=2000, bottom=500, frame=0)])
    assert max(laid.picture.size) < 2500
    assert (laid.boxes[0].right, laid.boxes[0].bottom) == (320, 80)


def test_tokens_of_a_clip_are_ranked_in_their_frame(loaded, clip, outcomes):
    found = outcomes["none"]
    each = len(found.saliency.values) // FRAMES
    assert set(found.saliency.among) == {each}
    for start in range(0, each * FRAMES, each):
        assert sorted(found.saliency.ranks[start : start + each])[0] == 1
    assert f"of {each} in its frame." in cards.card(loaded, clip, found)


@pytest.mark.parametrize(("kind", "animated"), [("animation", True), ("video", False)])
def test_the_commands_ask_as_the_page_does(kind, animated):
    from todre.cli.app import command as application

    group = application()
    parent = group.make_context("todre", ["ask"])
    wish = Wish(question="-What?", methods=("none", "todre"), share=0.5, picture="", frames=5)
    lines = command(wish, Running(model="todre-tiny-video"), "it's.gif", kind).splitlines()
    for line, name in zip(lines, wish.methods, strict=True):
        words = shlex.split(line)
        assert words[:2] == ["todre", "ask"]
        found = group.commands["ask"].make_context("ask", words[2:], parent=parent).params
        assert list(found["arguments"]) == ["it's.gif", "-What?"]
        assert (found["method"], found["frames"], found["video"]) == (name, 5, animated)
        assert (found["retain"], found["model"]) == (0.5 if name == "todre" else None, "todre-tiny-video")
    text = snippet(wish, Running(), "it's.gif", kind)
    compile(text, "snippet", "exec")
    assert 'open_medium("it\'s.gif", 5, animated=True)' in text


def test_attention_by_layer_is_for_pictures(loaded, clip):
    with pytest.raises(UnsupportedInputError, match="this is a clip"):
        attention(loaded, clip, Wish())


@pytest.mark.parametrize("frames", [None, 0, -1, 2.5, MOST_FRAMES + 1, float("inf"), float("nan")])
def test_a_number_of_frames_that_cannot_be(frames):
    with pytest.raises(InvalidValueError, match=f"from 1 to {MOST_FRAMES} frames"):
        check_frames(frames)


def test_a_number_of_frames_that_can_be():
    assert [check_frames(frames) for frames in (1, 8.0, MOST_FRAMES)] == [1, 8, MOST_FRAMES]
