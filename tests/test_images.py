"""open_image: every kind of file becomes an upright RGB picture with the right pixels, or one clear sentence."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from todre.errors import ImageError
from todre.images import MAX_PIXELS, ImageWarning, as_rgb, decode_image, image_sha256, open_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def save(tmp_path, image, name="picture.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def read(path):
    """Open without any warning being tolerated, and check what must hold for every picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_image(path)
    assert picture.mode == "RGB"
    picture.load()
    return picture


def refuse(path, *words):
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tiff", "a.ppm"])
def test_reads_common_formats(tmp_path, name):
    picture = read(save(tmp_path, Image.new("RGB", (7, 5), RED), name))
    assert picture.size == (7, 5)
    assert np.abs(np.asarray(picture).astype(int) - RED).max() <= 3


def test_one_pixel(tmp_path):
    assert read(save(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)))).getpixel((0, 0)) == (1, 2, 3)


def test_cmyk(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=100)
    red, green, blue = read(path).getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


def test_sixteen_bit_is_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    picture = read(save(tmp_path, Image.fromarray(levels)))
    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_thirty_two_bit_integers_that_hold_sixteen(tmp_path):
    levels = np.array([[0, 32896, 65535]], dtype=np.int32)
    picture = read(save(tmp_path, Image.fromarray(levels), "a.tiff"))
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_samples(tmp_path, top):
    levels = np.array([[0.0, 0.5, 1.0]], dtype=np.float32) * top
    picture = read(save(tmp_path, Image.fromarray(levels), "a.tiff"))
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


RAMP = np.linspace(0, 1, 4096, dtype=np.float64).reshape(64, 64)


def spoilt(top, value):
    """A ramp up to `top` with one sample of `value`."""
    levels = (RAMP * top).astype(np.float32)
    levels[0, 0] = value
    return levels


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (spoilt(1.0, 1.0005), None),  # as resampling leaves it
        (spoilt(255.0, 260.0), None),
        (spoilt(1.0, np.inf), "are no numbers from 0 to 1"),
        (spoilt(1.0, np.nan), "are no numbers from 0 to 1"),
        (spoilt(1.0, -3.0), "are cut off"),
        ((RAMP * 255).astype(np.int32), None),
        ((RAMP * 65535).astype(np.uint16), None),
        ((RAMP * 4095).astype(np.uint16), "nearly black; scale them first"),
    ],
    ids=["overshoot", "overshoot of 8 bits", "infinite", "no number", "negative", "8 in 32", "16", "12 in 16"],
)
def test_a_ramp_of_many_bits_is_a_ramp_or_is_spoken_of(levels, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grey = np.asarray(as_rgb(Image.fromarray(levels)))[..., 0].astype(float)
    assert [said in str(one.message) for one in caught if issubclass(one.category, ImageWarning)] == [True] * bool(said)
    if said is None or "nearly" not in said:
        assert np.abs(grey.flatten()[1:] - RAMP.flatten()[1:] * 255).max() <= 1.01


def test_transparent_samples_of_sixteen_bits_lie_on_white(tmp_path):
    levels = np.array([[0, 0, 32896, 65535]], dtype=np.uint16)
    picture = read(save(tmp_path, Image.fromarray(levels), transparency=0))
    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [255, 255, 128, 255]


def test_palette_with_transparency_lands_on_white(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 2, 2))
    picture = read(save(tmp_path, image, transparency=0))
    assert picture.getpixel((0, 0)) == RED
    assert picture.getpixel((3, 0)) == WHITE


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))])
def test_alpha_lands_on_white(tmp_path, mode, colour):
    assert read(save(tmp_path, Image.new(mode, (3, 3), colour))).getpixel((1, 1)) == WHITE


def test_half_transparent_is_blended(tmp_path):
    picture = read(save(tmp_path, Image.new("RGBA", (3, 3), (0, 0, 0, 128))))
    assert abs(picture.getpixel((1, 1))[0] - 127) <= 1


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_bilevel(tmp_path, mode):
    assert read(save(tmp_path, Image.new(mode, (3, 3), 1 if mode == "1" else 255))).getpixel((0, 0)) == WHITE


def test_animation_gives_first_frame_and_says_so(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(ImageWarning, match="several frames; the first"):
        picture = open_image(path)
    assert picture.getpixel((0, 0)) == RED


# What each EXIF orientation tag says has to be done to the stored pixels (EXIF 2.32, tag 0x0112).
TRANSFORMS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def chain(pages):
    """A TIFF of 8 × 8 pixels with that many pages, nearly all of which are the same."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    if pages == 1:
        return bytes(data)
    first = struct.unpack_from("<I", data, 4)[0]
    data += b"\0" * (len(data) % 2)
    entries = [(256, 3, 8), (257, 3, 8), (258, 3, 8), (262, 3, 1), (273, 4, 8)]
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, value)
                                                      for tag, kind, value in entries)  # fmt: skip
    struct.pack_into("<I", data, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], len(data))
    for left in range(pages - 2, -1, -1):
        data += page + struct.pack("<I", (len(data) + len(page) + 4) * (left > 0))
    return bytes(data)


def test_pages_are_not_counted(monkeypatch):
    """A small file may have a chain of pages that takes minutes to walk."""
    seeks = []
    found = TiffImagePlugin.TiffImageFile._seek

    def seek(self, frame):
        seeks.append(frame)
        found(self, frame)

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_seek", seek)
    with pytest.warns(ImageWarning, match="It has several frames; the first one is used"):
        assert decode_image(chain(500), "It").size == (8, 8)
    assert max(seeks) == 1
    assert len(seeks) < 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_image(chain(1), "It")


@pytest.mark.parametrize("orientation", sorted(TRANSFORMS))
def test_exif_orientation_is_applied(tmp_path, orientation):
    stored = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(stored), "a.png", exif=exif)
    assert np.array_equal(np.asarray(read(path)), TRANSFORMS[orientation](stored))


def test_wide_picture_is_read(tmp_path):
    assert read(save(tmp_path, Image.new("RGB", (20_000, 120), RED))).size == (20_000, 120)


def test_a_strip_is_refused(tmp_path):
    refuse(save(tmp_path, Image.new("L", (20_000, 1))), "20000 × 1", "crop")


def png_claiming(width, height):
    """A tiny valid PNG header that claims any size: what a decompression bomb looks like from outside."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 5_001), (20_000, 20_000)])
def test_decompression_bomb(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refuse(path, "too large", f"{MAX_PIXELS:,}", "scale it down")


@pytest.mark.parametrize(("most", "told"), [(99, "99"), (10**12, f"{MAX_PIXELS:,}")])
def test_limit_of_a_caller_is_looked_at_before_decoding(most, told):
    size = (10, 10) if most == 99 else (8001, 8000)
    with pytest.raises(ImageError, match=f"It is too large.*the limit is {told}"):
        decode_image(png_claiming(*size), "It", most)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated(tmp_path, name, share):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = save(tmp_path, Image.fromarray(noise), name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    refuse(tmp_path / name, name)


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    refuse(tmp_path / "a.png", "empty", "0 bytes")


def test_missing_file(tmp_path):
    refuse(tmp_path / "nowhere.png", "nowhere.png", "does not exist")


def test_directory(tmp_path):
    refuse(tmp_path, "directory")


@pytest.mark.parametrize("content", [b"plain text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x00" * 64])
def test_not_an_image(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    refuse(tmp_path / "a.png", "not an image")


def test_address():
    refuse("https://example.org/cat.png", "download")


def test_too_long_a_name():
    refuse("x" * 5000)


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(2)
    buffers = []
    for name in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(out, name)
        buffers.append(out.getvalue())
    path = tmp_path / "damaged"
    outcomes = set()
    for trial in range(300):
        data = bytearray(buffers[trial % len(buffers)])
        for _ in range(4):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcomes.add(open_image(path).mode)
            except ImageError as error:
                outcomes.add("two lines" if "\n" in str(error) else "refused")
    assert outcomes == {"RGB", "refused"}


def test_unreadable_orientation_is_a_warning(tmp_path, monkeypatch):
    path = save(tmp_path, Image.new("RGB", (4, 3), RED))

    def broken(image):
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr("todre.images.ImageOps.exif_transpose", broken)
    with pytest.warns(ImageWarning, match="EXIF"):
        assert open_image(path).size == (4, 3)


def test_hash_depends_on_pixels_and_shape_alone(tmp_path):
    image = Image.new("RGB", (4, 3), RED)
    assert image_sha256(image) == image_sha256(open_image(save(tmp_path, image)))
    assert image_sha256(image) != image_sha256(Image.new("RGB", (3, 4), RED))
    assert image_sha256(image) != image_sha256(Image.new("RGB", (4, 3), (254, 0, 0)))
