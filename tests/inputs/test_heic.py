"""HEIC: the pixels that were saved, upright, without anything registered in Pillow."""

import io
import warnings

import numpy as np
import pytest
from inputs.files import BLUE, RED, heic, png
from PIL import Image, UnidentifiedImageError

from todre.clips import is_clip
from todre.errors import ImageError, MissingDependencyError
from todre.images import ImageWarning
from todre.inputs import open_picture, picture_of
from todre.inputs.heic import decode_heic, is_heic


def two_halves(size=(64, 48)):
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


def near(picture, image):
    difference = np.abs(np.asarray(picture).astype(int) - np.asarray(image))
    return picture.size == image.size and difference.max() <= 4


def test_the_pixels_that_were_saved(tmp_path):
    (tmp_path / "a.heic").write_bytes(heic(two_halves()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_picture(str(tmp_path / "a.heic"))
    assert picture.mode == "RGB"
    assert near(picture, two_halves())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_comes_upright(orientation):
    """As a JPEG with this orientation does, which tests of images check."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    two_halves().save(stream, format="PNG", exif=exif)
    expected = picture_of(stream.getvalue(), "a.png")
    data = heic(two_halves(), exif=exif.tobytes())
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)  # the turn that counts, beside that of EXIF
    assert near(decode_heic(data, "a.heic"), expected)


def test_transparency_is_put_on_white():
    image = Image.new("RGBA", (64, 64), (*RED, 0))
    assert near(decode_heic(heic(image), "a.heic"), Image.new("RGB", (64, 64), (255, 255, 255)))


def test_of_several_pictures_the_main_one_is_used():
    import pillow_heif

    held = pillow_heif.from_pillow(two_halves())
    held.add_from_pillow(Image.new("RGB", (64, 64)))
    stream = io.BytesIO()
    held.save(stream, quality=-1, chroma=444, primary_index=0)
    with pytest.warns(ImageWarning, match="holds 2 pictures; the main one is used"):
        assert near(decode_heic(stream.getvalue(), "a.heic"), two_halves())


def test_nothing_is_registered_in_pillow():
    data = heic(two_halves())
    decode_heic(data, "a.heic")
    Image.init()
    assert "HEIF" not in Image.OPEN
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))


def test_the_limits_of_pictures_hold(monkeypatch):
    data = heic(two_halves())
    with pytest.raises(ImageError, match="64 × 48 pixels, and the limit is 1,000"):
        decode_heic(data, "a.heic", 1000)
    monkeypatch.setattr("todre.images.MAX_ASPECT", 1.2)
    with pytest.raises(ImageError, match="strip"):
        decode_heic(data, "a.heic")


@pytest.mark.parametrize("cut", [40, 200, 400])
def test_a_cut_file_is_one_sentence(cut):
    with pytest.raises(ImageError, match=r"a\.heic is damaged.*\.$") as caught:
        decode_heic(heic(two_halves())[:cut], "a.heic")
    assert "\n" not in str(caught.value)


def test_avif_is_left_to_pillow():
    def head(brand, *others):
        body = b"ftyp" + brand + bytes(4) + b"".join(others)
        return (len(body) + 4).to_bytes(4, "big") + body + b"....meta"

    assert is_heic(head(b"heic", b"mif1", b"heic"))
    assert is_heic(head(b"mif1", b"heic"))
    assert not is_heic(head(b"avif", b"mif1"))
    assert not is_heic(head(b"mif1", b"avif"))
    assert not is_heic(head(b"isom", b"heic"))
    assert not is_heic(png(two_halves()))


@pytest.mark.parametrize("brand", ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1"])
def test_heic_is_no_video(tmp_path, brand):
    (tmp_path / "a.heic").write_bytes(bytes(3) + b"\x14ftyp" + brand.encode("ascii") + bytes(8))
    assert is_heic((tmp_path / "a.heic").read_bytes())
    assert not is_clip(tmp_path / "a.heic")


def test_without_pillow_heif_the_extra_is_named(monkeypatch):
    data = heic(two_halves())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"a\.heic is a HEIC file.*todre\[heic\].*\.$"):
        decode_heic(data, "a.heic")
