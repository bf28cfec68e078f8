"""open_clip: the frames that were asked for, by presentation order, from every kind of file."""

import warnings

import numpy as np
import pytest
from clipfiles import SIZE, number_of, numbered, patch_edit_list, patch_matrix, write
from PIL import Image

from todre.clips import ClipWarning, clip_of_frames, clip_sha256, open_clip
from todre.errors import InvalidValueError, MissingDependencyError

FILES = {
    "h264.mp4": ("libx264", {"bf": "3", "g": "12"}, {}),
    "faststart.mp4": ("libx264", {"bf": "2"}, {"movflags": "faststart"}),
    "fragmented.mp4": ("libx264", {"g": "8"}, {"movflags": "frag_keyframe+empty_moov"}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none"}, {}),
    "open-gop.mkv": ("libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=10"}, {}),
    "vp9.webm": ("libvpx-vp9", {}, {}),
    "live.webm": ("libvpx-vp9", {}, {"live": "1"}),
    "hidden.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}, {}),
    "b-frames.avi": ("mpeg4", {"bf": "2"}, {}),
    "a.mov": ("mpeg4", {}, {}),
    "a.ts": ("libx264", {}, {}),
    "a.m2ts": ("libx264", {}, {}),
    "a.mpg": ("mpeg2video", {"bf": "2"}, {}),
    "a.flv": ("flv", {}, {}),
    "a.wmv": ("wmv2", {}, {}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_chosen_frames_from_every_kind_of_file(tmp_path, name, frames):
    codec, options, muxing = FILES[name]
    clip = open_clip(write(tmp_path / name, 40, codec=codec, options=options, muxing=muxing), frames)
    wanted = tuple(i * 40 // frames for i in range(frames))
    assert clip.indices == wanted
    assert tuple(number_of(frame) for frame in clip.frames) == wanted
    assert clip.timestamps == pytest.approx([number / 25 for number in wanted], abs=1e-3)
    assert (clip.total_frames, clip.fps, clip.size) == (40, 25.0, SIZE)
    assert clip.duration == pytest.approx(1.6, abs=2e-3)
    assert all(frame.mode == "RGB" for frame in clip.frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_keeps_its_times(tmp_path, name):
    steps = np.random.default_rng(1).choice([10, 40, 90, 400], size=29)
    times = [0, *np.cumsum(steps).tolist()]
    clip = open_clip(write(tmp_path / name, 30, times=times), 9)
    assert [number_of(frame) for frame in clip.frames] == list(clip.indices)
    assert clip.timestamps == pytest.approx([times[number] / 1000 for number in clip.indices], abs=1e-3)
    assert clip.duration >= times[-1] / 1000
    assert clip.fps == pytest.approx(30 / clip.duration)


def test_an_edit_list_cuts_frames_away(tmp_path):
    """Twenty frames from the tenth composition step on; two steps are the delay that B-frames need."""
    path = patch_edit_list(write(tmp_path / "a.mp4", 40), start=512 * 10, length=512 * 20)
    clip = open_clip(path, 20)
    assert clip.total_frames == 20
    assert [number_of(frame) for frame in clip.frames] == list(range(8, 28))
    assert clip.timestamps == pytest.approx([i / 25 for i in range(20)], abs=1e-3)


def test_sound_beside_the_picture_changes_nothing(tmp_path):
    clip = open_clip(write(tmp_path / "a.mp4", 10, audio=True), 5)
    assert [number_of(frame) for frame in clip.frames] == [0, 2, 4, 6, 8]


def test_few_frames_are_all_taken_with_a_sentence(tmp_path):
    with pytest.warns(ClipWarning, match="has 3 frames, and 8 were asked for"):
        clip = open_clip(write(tmp_path / "a.mp4", 3), 8)
    assert [number_of(frame) for frame in clip.frames] == [0, 1, 2]
    with pytest.warns(ClipWarning, match="has 1 frame, and 8"):
        clip = open_clip(write(tmp_path / "b.mkv", 1), 8)
    assert (clip.timestamps, clip.total_frames) == ((0.0,), 1)
    assert clip.duration == pytest.approx(0.04, abs=1e-3)


def test_recordings_that_were_joined(tmp_path):
    """Times begin anew in the middle, so that numbers alone are left to go by."""
    parts = [write(tmp_path / f"{name}.ts", 10).read_bytes() for name in "ab"]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    clip = open_clip(tmp_path / "both.ts", 10)
    assert clip.total_frames == 20
    assert [number_of(frame) for frame in clip.frames] == [0, 2, 4, 6, 8] * 2
    assert clip.timestamps == pytest.approx([number / 25 for number in clip.indices])


def turned(a, b, c, d):
    """What ISO/IEC 14496-12 shows for a matrix: pixel (p, q) at (a p + c q, b p + d q), moved to the origin."""
    picture = np.asarray(numbered(5, (96, 40)))
    rows, columns = picture.shape[:2]
    q, p = np.mgrid[0:rows, 0:columns]
    x, y = a * p + c * q, b * p + d * q
    x, y = x - x.min(), y - y.min()
    shown = np.zeros((y.max() + 1, x.max() + 1, 3), dtype=np.uint8)
    shown[y, x] = picture[q, p]
    return Image.fromarray(shown)


QUARTERS = [(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)]
MIRRORED = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize("matrix", [*QUARTERS, *MIRRORED])
def test_frames_are_turned_as_the_camera_says(tmp_path, matrix):
    path = patch_matrix(write(tmp_path / "a.mp4", 6, size=(96, 40)), *matrix)
    clip = open_clip(path, 6)
    expected = turned(*matrix)
    assert clip.size == expected.size
    assert clip.frames[5].size == expected.size
    difference = np.abs(np.asarray(clip.frames[5], dtype=int) - np.asarray(expected, dtype=int))
    assert difference.mean() < 6


def test_an_odd_angle_is_mentioned_once(tmp_path):
    path = patch_matrix(write(tmp_path / "a.mp4", 6), 0.7, 0.7, -0.7, 0.7)
    with pytest.warns(ClipWarning, match="odd angle") as reply:
        clip = open_clip(path, 6)
    assert len(reply) == 1
    assert number_of(clip.frames[4]) == 4


def test_progress_reaches_the_end(tmp_path):
    steps = []
    open_clip(write(tmp_path / "a.mp4", 20), 4, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 20) for number in range(1, 21)]


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4", 4).rename(tmp_path / "concat:a.mp4")
    assert open_clip("concat:a.mp4", 4).total_frames == 4


def test_equal_pixels_have_equal_hashes(tmp_path):
    frames = [numbered(number) for number in range(4)]
    clip = clip_of_frames(frames, fps=2)
    assert (clip.indices, clip.timestamps, clip.duration) == ((0, 1, 2, 3), (0.0, 0.5, 1.0, 1.5), 2.0)
    assert clip_sha256(clip) == clip_sha256(clip_of_frames(frames, fps=25))
    assert clip_sha256(clip) != clip_sha256(clip_of_frames(frames[:3]))
    assert clip_sha256(clip) != clip_sha256(clip_of_frames([frames[1], frames[0], *frames[2:]]))
    wide, tall = Image.new("RGB", (8, 4)), Image.new("RGB", (4, 8))
    assert clip_sha256(clip_of_frames([wide])) != clip_sha256(clip_of_frames([tall]))
    facts = clip.facts()
    assert facts["sha256"] == clip_sha256(clip)
    assert (facts["frames"], facts["size"], facts["fps"]) == (4, list(SIZE), 2.0)


def test_two_runs_give_the_same_pixels(tmp_path):
    path = write(tmp_path / "a.mp4", 20)
    assert clip_sha256(open_clip(path, 5)) == clip_sha256(open_clip(path, 5))


@pytest.mark.parametrize("frames", [0, -1, True, 2.0, "8"])
def test_a_strange_number_of_frames(tmp_path, frames):
    with pytest.raises(InvalidValueError, match="frames must be a whole number"):
        open_clip(tmp_path / "a.mp4", frames)


def test_frames_that_make_no_clip():
    with pytest.raises(InvalidValueError, match="0 frames"):
        clip_of_frames([])
    with pytest.raises(InvalidValueError, match="one size"):
        clip_of_frames([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))])
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidValueError, match="fps must be"):
            clip_of_frames([Image.new("RGB", (4, 4))], fps)


def test_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setattr("todre.clips.source.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'todre\[video\]'"):
        open_clip(tmp_path / "a.mp4")


def test_no_file_is_left_open(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_clip(write(tmp_path / "a.mp4", 8), 8)
