"""Files that are no clips: one sentence each, and never anything but a ClipError."""

import numpy as np
import pytest
from clipfiles import write, write_audio, write_no_frames, write_noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from todre.clips import Clip, open_clip
from todre.errors import ClipError


def refused(path, *words):
    with pytest.raises(ClipError) as caught:
        open_clip(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert str(path) in sentence
    for word in words:
        assert word in sentence


def test_no_file(tmp_path):
    refused(tmp_path / "none.mp4", "does not exist")
    refused(tmp_path, "is a directory")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "is empty (0 bytes)")
    with pytest.raises(ClipError, match="is an address"):
        open_clip("https://example.org/clip.mp4")


def test_other_files(tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 300)
    refused(tmp_path / "text.mp4", "is not a video")
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "picture.mp4")
    refused(tmp_path / "picture.mp4", "is not a video")


def test_a_playlist_opens_no_other_file(tmp_path):
    write(tmp_path / "secret.ts", 8)
    list_ = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path / 'secret.ts'}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(list_)
    (tmp_path / "list.mp4").write_text(list_)
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.m3u8", "list.mp4", "list.ffconcat"):
        refused(tmp_path / name, "is not a video")


def test_sound_alone(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.m4a"):
        refused(write_audio(tmp_path / name), "audio only")
    refused(write_audio(tmp_path / "cover.mp4", cover=True), "audio only")


def test_no_frames(tmp_path):
    refused(write_no_frames(tmp_path / "a.mp4"), "has no frames")
    refused(
        write_no_frames(tmp_path / "b.mp4", muxing={"movflags": "empty_moov+frag_keyframe"}), "video track is empty"
    )
    refused(write_no_frames(tmp_path / "a.mkv"), "has no frames")
    refused(write_no_frames(tmp_path / "b.mkv", audio=True), "video track is empty")
    refused(write_no_frames(tmp_path / "a.avi", codec="mpeg4"), "video track is empty")


@pytest.mark.parametrize("name", ["a.mp4", "fast.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"])
def test_every_truncation_of_a_file_that_states_its_length(tmp_path, name):
    muxing = {"movflags": "faststart"} if name == "fast.mp4" else {}
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(name[-5:].lstrip("t"), "libx264")
    path = write(tmp_path / name, 12, codec=codec, muxing=muxing)
    data = path.read_bytes()
    for length in {*range(1, len(data), 211), len(data) - 1}:
        path.write_bytes(data[:length])
        refused(path)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg", "a.flv"])
def test_truncated_streams_give_whole_frames_or_a_sentence(tmp_path, name):
    codec = {"a.ts": "libx264", "a.mpg": "mpeg2video", "a.flv": "flv"}[name]
    path = write(tmp_path / name, 12, codec=codec)
    data = path.read_bytes()
    for length in range(1, len(data), len(data) // 9):
        path.write_bytes(data[:length])
        opens_or_refuses(path)


def opens_or_refuses(path):
    try:
        clip = open_clip(path, 2)
    except ClipError:
        return None
    assert isinstance(clip, Clip)
    return clip


@pytest.fixture(scope="module", params=["a.mp4", "a.mkv", "a.avi", "a.ts"])
def noise(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / request.param
    write_noise(path, codec="mpeg4" if path.suffix == ".avi" else "libx264")
    return path, path.read_bytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), length=st.integers(1, 300), seed=st.integers(0, 2**16))
def test_damage_anywhere_is_one_sentence_or_none(noise, place, length, seed):
    path, data = noise
    start = int(place * (len(data) - 1))
    damaged = bytearray(data)
    span = damaged[start : start + length]
    damaged[start : start + length] = np.random.default_rng(seed).integers(0, 256, len(span), dtype=np.uint8).tobytes()
    path.write_bytes(bytes(damaged))
    with np.errstate(all="ignore"):
        opens_or_refuses(path)


def test_damage_in_the_picture_data_is_found(tmp_path):
    path = write_noise(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(bytes(data))
    refused(path, "damaged")


def test_a_matroska_file_with_a_hole_is_found(tmp_path):
    path = write_noise(tmp_path / "a.mkv", frames=60)
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 4 + 20000] = b"\xff" * 20000
    path.write_bytes(bytes(data))
    refused(path, "damaged")


def test_frames_that_are_too_large(tmp_path):
    refused(write(tmp_path / "a.mkv", 1, codec="mpeg4", size=(8128, 4512)), "8128 × 4512", "scale it down")
    refused(write(tmp_path / "b.mkv", 1, codec="mpeg4", size=(8000, 32)), "8000 × 32", "crop it")


def test_too_many_pixels_together(tmp_path, monkeypatch):
    monkeypatch.setattr("todre.clips.reader.MAX_PIXELS", 10_000)
    refused(write(tmp_path / "a.mp4", 20), "25,600 pixels in 8 frames", "ask for fewer frames")


def test_a_size_that_changes(tmp_path):
    """Two transport streams after one another, as recorders write them."""
    first = write(tmp_path / "a.ts", 10, size=(96, 64)).read_bytes()
    second = write(tmp_path / "b.ts", 10, size=(128, 64)).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    refused(tmp_path / "both.ts", "changes its size")
