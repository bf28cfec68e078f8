"""A video is told from a picture by its bytes, and by its name where these say nothing."""

import os

import pytest
from clipfiles import write
from PIL import Image

from todre.clips import is_clip
from todre.clips.signatures import missing_bytes


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"),
     ("a.ts", "libx264"), ("a.m2ts", "libx264"), ("a.mpg", "mpeg2video"), ("a.flv", "flv"), ("a.wmv", "wmv2")],
)  # fmt: skip
def test_videos_whatever_they_are_called(tmp_path, name, codec):
    path = write(tmp_path / name, 4, codec=codec)
    assert is_clip(path)
    assert missing_bytes(path) is None
    assert is_clip(path.rename(tmp_path / "renamed.png"))


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_pictures_whatever_they_are_called(tmp_path, format_):
    for name in ("a.png", "a.mp4"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / name, format=format_)
    assert not is_clip(tmp_path / "a.png")
    assert is_clip(tmp_path / "a.mp4") == (format_ == "PPM"), "a signature of three bytes of text is not trusted"


def test_names_decide_where_there_is_nothing_to_read(tmp_path):
    assert is_clip(tmp_path / "missing.mp4")
    assert is_clip("https://example.org/CLIP.MKV")
    assert not is_clip(tmp_path / "missing.png")
    assert not is_clip("What is this?")
    (tmp_path / "empty.mov").touch()
    assert is_clip(tmp_path / "empty.mov")
    assert not is_clip(tmp_path)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert is_clip(tmp_path / "pipe.mp4")


def test_appended_bytes_are_not_missing(tmp_path):
    for name in ("a.mp4", "a.avi", "a.mkv"):
        path = write(tmp_path / name, 4, codec="mpeg4")
        path.write_bytes(path.read_bytes() + b"\xff\xff\xff\xffgarbage" * 9)
        assert missing_bytes(path) is None


def test_lengths_of_64_bits_and_to_the_end(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes((16).to_bytes(4, "big") + b"ftypisom0000" + b"\0\0\0\1mdat" + (40).to_bytes(8, "big") + bytes(24))
    assert missing_bytes(path) is None
    path.write_bytes(path.read_bytes()[:-1])
    assert missing_bytes(path) == (55, 56)
    path.write_bytes((16).to_bytes(4, "big") + b"ftypisom0000" + b"\0\0\0\0mdat" + bytes(9))
    assert missing_bytes(path) is None
