"""read_data_url: the picture that a file of the same bytes holds, or one short sentence."""

import base64
import io
import urllib.parse
import urllib.request
import warnings

import numpy as np
import pytest
from PIL import Image

from todre.errors import ImageError
from todre.images import ImageWarning, open_image
from todre.inputs.data_urls import data_url, is_data_url, read_data_url
from todre.scenes import make_scene


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def url_of(data, media_type="image/png"):
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def same(picture, other):
    return picture.mode == "RGB" and np.array_equal(np.asarray(picture), np.asarray(other))


def refused(url, *words):
    with pytest.raises(ImageError) as caught:
        read_data_url(url)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert len(message) < 300
    for word in words:
        assert word in message


def oriented():
    picture = Image.new("RGB", (4, 2), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    return encoded(picture, format="PNG", exif=exif)


KINDS = {
    "png": encoded(Image.new("RGB", (7, 5), (1, 2, 3)), format="PNG"),
    "jpeg": encoded(make_scene(3, "val").image, format="JPEG"),
    "webp": encoded(Image.new("RGB", (7, 5), (1, 2, 3)), format="WEBP", lossless=True),
    "transparent": encoded(Image.new("RGBA", (7, 5), (255, 0, 0, 128)), format="PNG"),
    "sixteen bits": encoded(Image.fromarray(np.arange(0, 60_000, 1000, dtype=np.uint16).reshape(6, 10)), format="PNG"),
    "cmyk": encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG"),
    "oriented": oriented(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_that_of_the_file(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(KINDS[kind])
    assert same(read_data_url(url_of(KINDS[kind])), open_image(path))


@pytest.mark.parametrize("kind", KINDS)
def test_percent_encoding_holds_the_same_bytes(kind):
    url = "data:image/png," + urllib.parse.quote_from_bytes(KINDS[kind])
    assert same(read_data_url(url), read_data_url(url_of(KINDS[kind])))
    with urllib.request.urlopen(url) as answer:  # the standard library's own reader, as a second opinion
        assert answer.read() == KINDS[kind]


def test_what_clients_write():
    whole = url_of(KINDS["png"])
    head, body = whole.split(",")
    picture = read_data_url(whole)
    for url in (
        whole.replace("data:image/png", "DATA:IMAGE/PNG"),
        whole.replace(";base64", ";charset=utf-8;Base64"),
        whole.rstrip("="),
        head + "," + "\r\n".join(body[start : start + 76] for start in range(0, len(body), 76)),
        head + "," + urllib.parse.quote(body, safe=""),
        whole.replace("image/png", "image/jpeg"),
    ):
        assert same(read_data_url(url), picture)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 255, 0))]
    url = url_of(encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:]), "image/gif")
    with pytest.warns(ImageWarning, match="has several frames"):
        assert read_data_url(url).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA"])
def test_a_picture_comes_back(mode):
    picture = Image.new(mode, (5, 4))
    back = read_data_url(data_url(picture))
    assert back.mode == "RGB"
    assert back.size == (5, 4)


def test_a_picture_comes_back_without_loss():
    scene = make_scene(3, "val").image
    assert same(read_data_url(data_url(scene)), scene)


def test_a_data_url_is_told_from_a_path():
    assert is_data_url("data:image/png;base64,AAAA")
    assert is_data_url("DATA:nonsense")
    assert not is_data_url("data/picture.png")
    assert not is_data_url("https://example.org/data:")


MEGABYTES = "A" * 3_000_000


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", ["no data: URL"]),
        ("https://example.org/a.png", ["no data: URL", "https://example.org/a.png"]),
        ("data:image/png;base64", ["no data: URL"]),
        ("data:image/png" + MEGABYTES, ["no data: URL"]),
        ("data:,hello", ["no media type"]),
        ("data:;base64,AAAA", ["no media type"]),
        ("data:text/html;base64,AAAA", ["text/html"]),
        ("data:" + "x" * 900 + ",AAAA", ["media type"]),
        ("data:image/png;base64,", ["empty"]),
        ("data:image/png,", ["empty"]),
        ("data:image/png;base64,A", ["no base64"]),
        ("data:image/png;base64,AA==AAAA", ["no base64"]),
        ("data:image/png;base64,not base64!", ["no base64"]),
        ("data:image/png;base64,-_-_", ["no base64"]),
        ("data:image/png;base64," + MEGABYTES, ["not an image"]),
        ("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>", ["not an image"]),
        (url_of(KINDS["png"][:40]), ["The picture of the data: URL"]),
        (url_of(KINDS["jpeg"][:-400]), ["damaged"]),
    ],
    ids=range(18),
)
def test_anything_else_is_refused_in_one_short_sentence(url, words):
    refused(url, *words)


def test_the_limits_of_pictures_hold(monkeypatch):
    monkeypatch.setattr("todre.images.MAX_PIXELS", 100)
    refused(url_of(encoded(Image.new("RGB", (11, 10)), format="PNG")), "too large", "11 × 10")
    refused(url_of(encoded(Image.new("RGB", (1, 300)), format="PNG")), "too large")
    monkeypatch.undo()
    refused(url_of(encoded(Image.new("RGB", (1, 300)), format="PNG")), "strip")


def test_a_large_claim_is_not_decoded():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(url_of(encoded(Image.new("1", (9000, 9000)), format="PNG")), "too large", "9000 × 9000")


def test_characters_that_no_url_can_have():
    """Bytes of a command line that are no text."""
    refused("data:image/png;base64,\udcff", "holds characters that no URL can have")
