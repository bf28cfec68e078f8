"""Video files made in the test: every frame carries its number in black and white blocks, which any codec preserves."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from PIL import Image

BITS = 10
BLOCK = 16
SIZE = (BLOCK * BITS // 2, BLOCK * 2 + 8)
"""(width, height): two rows of five blocks, and a strip below that is lighter on the left (tells turns apart)."""


def numbered(number, size=SIZE):
    """A picture that says `number`, below 2**BITS."""
    bits = np.array([(number >> bit) & 1 for bit in range(BITS)], dtype=np.uint8).reshape(2, BITS // 2)
    blocks = np.kron(bits, np.ones((BLOCK, BLOCK), dtype=np.uint8)) * 255
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels[: blocks.shape[0], : blocks.shape[1]] = blocks
    pixels[blocks.shape[0] :, : size[0] // 2] = 200
    return Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))


def number_of(picture):
    """The number that a decoded `numbered` picture says."""
    grey = np.asarray(picture.convert("L"))[: 2 * BLOCK, : BLOCK * BITS // 2]
    means = grey.reshape(2, BLOCK, BITS // 2, BLOCK).mean(axis=(1, 3)).ravel()
    assert ((means < 60) | (means > 195)).all(), means
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def write(path, frames=40, fps=25, codec="libx264", size=SIZE, options=None, muxing=None, times=None, audio=False):
    """Write numbered frames; `times` are presentation times in milliseconds, in place of a constant rate."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = options or {}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=16000) if audio else None
        if sound is not None:
            tone(container, sound)
        for number in range(frames):
            frame = av.VideoFrame.from_image(numbered(number, size))
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path, cover=False):
    """A file with sound alone; a cover picture is no video."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic.value
        tone(container, sound)
        if picture is not None:
            container.mux(picture.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32), "red"))))
            container.mux(picture.encode())
    return path


def write_noise(path, frames=30, codec="libx264", size=(96, 64), options=None):
    """Frames that do not compress, so that most of the file is picture data."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = *size, "yuv420p", options or {}
        for _ in range(frames):
            pixels = noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_no_frames(path, codec="libx264", muxing=None, audio=False):
    """A file with a video track in which there is nothing."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if audio:
            tone(container, container.add_stream("aac", rate=16000))
        container.start_encoding()
        container.mux(stream.encode())
    return path


def tone(container, stream, seconds=0.5):
    """Put silence into the stream and end it."""
    for start in range(0, int(16000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def patch_matrix(path, a, b, c, d):
    """Write a display matrix into the first track header of an MP4 (ISO/IEC 14496-12, section 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + (4 + 20 + 8 + 8)  # version 0: flags, times and ids, reserved, layer … reserved
    for place, value in ((0, a), (1, b), (3, c), (4, d)):
        data[start + 4 * place : start + 4 * place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
    return path


def patch_edit_list(path, start, length):
    """Let the first edit list of an MP4 play only `length` from `start` on, both in the track's time scale."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4
    assert data[place] == 0
    movie = int.from_bytes(data[data.index(b"mvhd") + 16 : data.index(b"mvhd") + 20], "big")
    track = int.from_bytes(data[data.index(b"mdhd") + 16 : data.index(b"mdhd") + 20], "big")
    data[place + 8 : place + 12] = (length * movie // track).to_bytes(4, "big")
    data[place + 12 : place + 16] = start.to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
    return path
