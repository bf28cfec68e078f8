"""Animated GIF, WebP and PNG as clips: every frame, its time, and what is refused."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import sentences
from PIL import Image
from sentences import quietly

from todre.clips import ClipWarning, is_animation, open_animation
from todre.clips.survey import frame_numbers
from todre.errors import ClipError, InvalidValueError

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250), (90, 90, 90)]
TIMES = [100, 200, 50, 400, 30, 70, 150]
"""Milliseconds for which each frame is shown."""


def frames():
    """A plain frame for each colour, with a white corner that moves."""
    found = []
    for number, colour in enumerate(COLOURS):
        image = Image.new("RGB", (24, 16), colour)
        image.paste((255, 255, 255), (2 * number, 4, 2 * number + 4, 8))
        found.append(image)
    return found


def saved(kind, pictures=None, times=None, **options):
    first, *rest = pictures or frames()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    stream = io.BytesIO()
    first.save(
        stream, format=kind, save_all=True, append_images=rest, duration=times or TIMES, loop=0, **lossless, **options
    )
    return stream.getvalue()


refused = functools.partial(sentences.refused, error=ClipError)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_the_chosen_frames_and_their_times(tmp_path, kind, count):
    data = saved(kind)
    path = tmp_path / "moving"
    path.write_bytes(data)
    for source in (data, path):
        assert is_animation(source)
        clip = quietly(lambda source=source: open_animation(source, "moving", count))
        assert clip.indices == frame_numbers(7, count)
        for number, frame, stamp in zip(clip.indices, clip.frames, clip.timestamps, strict=True):
            assert np.abs(np.asarray(frame).astype(int) - np.asarray(frames()[number])).max() <= 6  # GIF has a palette
            assert stamp == pytest.approx(sum(TIMES[:number]) / 1000)
        assert clip.duration == pytest.approx(1.0)
        assert clip.fps == pytest.approx(7.0)
        assert clip.total_frames == 7


def test_a_frame_that_states_no_time_counts_for_a_tenth_of_a_second():
    clip = open_animation(saved("GIF", times=[0, 0, 50, 0, 0, 0, 0]), "a.gif", 7)
    assert clip.timestamps == pytest.approx([0, 0.1, 0.2, 0.25, 0.35, 0.45, 0.55])


def test_frames_that_are_seen_through_lie_on_white():
    pictures = [Image.new("RGBA", (8, 8), (*colour, 128)) for colour in COLOURS[:2]]
    clip = open_animation(saved("WEBP", pictures, [100, 100], background=(0, 0, 0, 0), exact=True), "a.webp", 2)
    assert np.abs(np.asarray(clip.frames[0])[4, 4].astype(int) - (252, 127, 127)).max() <= 3


def test_a_still_picture_before_the_animation_is_not_of_it():
    """A PNG whose first picture only viewers without animations show."""
    data = saved("PNG", [Image.new("RGB", (8, 8), (1, 2, 3)), *[image.crop((0, 0, 8, 8)) for image in frames()]],
                 [10, *TIMES], default_image=True)  # fmt: skip
    clip = open_animation(data, "a.png", 7)
    assert clip.total_frames == 7
    assert clip.frames[0].getpixel((7, 0)) == COLOURS[0]


def test_fewer_frames_than_were_asked_for():
    with pytest.warns(ClipWarning, match=r"a\.gif has 7 frames, and 9 were asked for; all are used"):
        assert len(open_animation(saved("GIF"), "a.gif", 9)) == 7


def test_progress_counts_every_frame():
    seen = []
    open_animation(saved("PNG"), "a.png", 2, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 7) for number in range(1, 8)]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "JPEG", "BMP", "TIFF"])
def test_a_still_picture_does_not_move(tmp_path, kind):
    stream = io.BytesIO()
    frames()[0].save(stream, format=kind)
    assert not is_animation(stream.getvalue())


def test_pages_of_a_tiff_do_not_move():
    first, *rest = frames()
    stream = io.BytesIO()
    first.save(stream, format="TIFF", save_all=True, append_images=rest)
    assert not is_animation(stream.getvalue())
    assert not is_animation(b"no picture")
    assert not is_animation(b"")


@pytest.mark.filterwarnings("ignore::todre.clips.ClipWarning")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_a_cut_file_gives_a_whole_clip_or_one_sentence(kind):
    data = saved(kind)
    for cut in range(20, len(data), max(1, len(data) // 40)):
        try:
            clip = open_animation(data[:cut], "a", 7)
        except ClipError as error:
            sentence = str(error)
            assert sentence.startswith("a ")
            assert "\n" not in sentence
        else:
            assert clip.size == (24, 16)


def test_limits(monkeypatch):
    data = saved("GIF")
    monkeypatch.setattr("todre.clips.animation.MAX_PIXELS", 1000)
    refused(lambda: open_animation(data, "a.gif", 7), "2,688 pixels in 7 frames", "1,000")
    assert len(open_animation(data, "a.gif", 2)) == 2
    monkeypatch.setattr("todre.clips.animation.MAX_FRAMES", 6)
    refused(lambda: open_animation(data, "a.gif", 2), "7 frames", "limit is 6")


def test_a_claim_of_any_size_is_refused_before_it_is_decoded():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)) + chunk(
        b"acTL", struct.pack(">II", 5, 0)
    )
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 12000, 12000, 0, 0, 1, 10, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + control + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    refused(lambda: open_animation(data, "a.png", 1), "12000 × 12000")


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_counts_that_cannot_be(count):
    refused(lambda: open_animation(saved("GIF"), "a.gif", count), "at least 1", error=InvalidValueError)
