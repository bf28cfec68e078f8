"""The reader: the same picture from wherever it comes, equal to what Pillow decodes of its file."""

import io
import pickle
import sys
import time
from dataclasses import replace

import pytest
from clips.test_animation import saved
from inputs.files import data_url_of, pdf, png, same, serving, specimen
from PIL import Image

from todre.clips import Clip
from todre.errors import ImageError
from todre.images import ImageWarning
from todre.inputs import Reading, open_medium, open_picture, open_with_bytes, picture_of, reading_for
from todre.inputs.reader import WEB

IMAGE = specimen()
WEBBED = reading_for(urls=True)


def refused(work, *words):
    with pytest.raises(ImageError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message
    return message


@pytest.fixture
def piped(monkeypatch):
    """piped(data): what standard input holds."""

    def pipe(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return pipe


@pytest.fixture
def web():
    files = {"a.png": png(IMAGE), "page.html": b"<html>no picture</html>", "large": bytes(200_000),
             "moving.gif": saved("GIF"), "a.pdf": pdf(((72, 72), (1, 0, 0)), ((144, 72), (0, 1, 0)))}  # fmt: skip
    with serving(files) as server:
        yield server


# -- one picture, from everywhere -----------------------------------------------------------------------------------


def test_a_file_its_url_a_data_url_and_standard_input_give_equal_pixels(tmp_path, piped, web):
    path = tmp_path / "a b.png"
    path.write_bytes(png(IMAGE))
    piped(png(IMAGE))
    for text in (str(path), path.as_uri(), data_url_of(png(IMAGE)), "-", f"{web.root}/a.png", f"{web.root}/to//a.png"):
        assert same(open_picture(text, WEBBED), IMAGE), text
    for text in ("a b.png", data_url_of(png(IMAGE))):
        picture, data = open_with_bytes(text, Reading(folder=tmp_path))
        assert same(picture, IMAGE)
        assert data == png(IMAGE)


def test_bytes_are_turned_and_limited_as_files_are(tmp_path, piped, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    IMAGE.save(stream, format="PNG", exif=exif)
    piped(stream.getvalue())
    assert same(open_picture("-", WEBBED), IMAGE.transpose(Image.Transpose.ROTATE_270))
    monkeypatch.setattr("todre.images.MAX_PIXELS", 90)
    (tmp_path / "a.png").write_bytes(png(IMAGE))
    piped(png(IMAGE))
    for text in (str(tmp_path / "a.png"), data_url_of(png(IMAGE)), "-"):
        refused(lambda text=text: open_picture(text, WEBBED), "12 × 8", "limit is 90")
    monkeypatch.setattr("todre.images.MAX_PIXELS", 1000)
    monkeypatch.setattr("todre.images.MAX_ASPECT", 1.4)
    refused(lambda: open_picture(data_url_of(png(IMAGE))), "strip")


# -- standard input -------------------------------------------------------------------------------------------------


def test_standard_input_that_holds_no_picture(piped, monkeypatch):
    piped(b"")
    refused(lambda: open_picture("-", WEBBED), "Standard input is empty")
    piped(b"no picture")
    refused(lambda: open_picture("-", WEBBED), "The picture of standard input is not an image")
    monkeypatch.setattr("todre.inputs.reader.MOST_BYTES", 50)
    piped(png(IMAGE))
    refused(lambda: open_picture("-", WEBBED), "Standard input has more than 50 bytes")
    monkeypatch.setattr(sys, "stdin", None)
    refused(lambda: open_picture("-", WEBBED), "no picture comes from there")


def test_a_terminal_is_not_waited_for(piped, monkeypatch):
    piped(png(IMAGE))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    refused(lambda: open_picture("-", WEBBED), "pipe one in")


def test_standard_input_belongs_to_a_command_line(piped):
    piped(png(IMAGE))
    refused(lambda: open_picture("-"), "can only be named on a command line", "./-")
    refused(lambda: open_picture("-", reading_for(True, stdin="brings the lines of the chat")), "lines of the chat")


# -- the web --------------------------------------------------------------------------------------------------------


def test_nothing_is_fetched_unless_it_is_allowed(web):
    refused(lambda: open_picture(f"{web.root}/a.png", reading_for(urls=False)), "nothing is fetched", "--allow-urls")
    message = refused(lambda: open_picture(f"{web.root}/a.png"), "nothing is fetched", "download")
    assert "--allow-urls" not in message
    assert not web.seen


@pytest.mark.parametrize(("place", "words"), [
    ("page.html", "not an image"), ("none", "answered 404"), ("large", "larger than 100,000 bytes"),
    ("to/file:///etc/hostname", "no http or https address"), ("to/ftp://127.0.0.1/a", "no http or https address"),
    ("to//none", "answered 404"),
])  # fmt: skip
def test_what_is_no_picture_of_the_web(web, place, words):
    reading = replace(WEBBED, web=replace(WEB, most_bytes=100_000))
    message = refused(lambda: open_picture(f"{web.root}/{place}", reading), words)
    assert "data: URL" not in message  # the advice is for who types a command


def test_a_slow_host_is_left(web):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        reading = replace(WEBBED, web=replace(WEB, seconds=0.3))
        began = time.monotonic()
        refused(lambda: open_picture(f"http://127.0.0.1:{silent.getsockname()[1]}/a.png", reading), "0.3 seconds")
        assert time.monotonic() - began < 5


def test_the_public_internet_leads_nowhere_else(web):
    """A page of the web cannot make a command ask machines of the user's own network."""
    import ipaddress

    from todre.inputs.http_pictures import fetch_picture

    here = ipaddress.ip_address("127.0.0.1")
    public = ipaddress.ip_address("93.184.216.34")
    rules = replace(WEB, lookup=lambda host, port: [here])
    assert fetch_picture(f"{web.root}/to/{web.root}/a.png", rules) == png(IMAGE)  # from the own network it may

    import todre.inputs.http_pictures as module

    class Answering(module._Connection):
        """A connection to the test's server, whatever address was checked."""

        def __init__(self, host, port, addresses, until, encrypted):
            super().__init__(host, port, [here], until, encrypted)

    original = module._Connection
    module._Connection = Answering
    try:
        rules = replace(WEB, lookup=lambda host, port: [public if host == "web.example" else here])
        address = f"http://web.example:{web.server_port}"
        assert fetch_picture(f"{address}/to//a.png", rules) == png(IMAGE)
        refused(lambda: fetch_picture(f"{address}/to/{web.root}/a.png", rules), "not on the public internet")
    finally:
        module._Connection = original


# -- pages and clips ------------------------------------------------------------------------------------------------


def test_a_page_of_a_pdf_from_everywhere(tmp_path, piped, web):
    data = pdf(((72, 72), (1, 0, 0)), ((144, 72), (0, 1, 0)))
    (tmp_path / "a.pdf").write_bytes(data)
    expected = open_picture(str(tmp_path / "a.pdf#2"))
    assert expected.size == (300, 150)
    assert same(open_picture(f"{web.root}/a.pdf#page=2", WEBBED), expected)
    piped(data)
    with pytest.warns(ImageWarning, match="standard input has 2 pages"):
        assert open_picture("-", WEBBED).size == (150, 150)


def test_an_animation_is_a_clip_where_that_is_meant(tmp_path, piped, web):
    path = tmp_path / "moving.gif"
    path.write_bytes(saved("GIF"))
    piped(saved("GIF"))
    for text in (str(path), path.as_uri(), data_url_of(saved("GIF"), "image/gif"), "-", f"{web.root}/moving.gif"):
        clip = open_medium(text, 4, WEBBED, animated=True)
        assert isinstance(clip, Clip)
        assert clip.indices == (0, 1, 3, 5)
        assert clip.timestamps == pytest.approx((0, 0.1, 0.35, 0.78))
    with pytest.warns(ImageWarning, match="has several frames; the first one is used"):
        assert isinstance(open_medium(str(path), 4), Image.Image)
    with pytest.warns(ImageWarning, match="has several frames; the first one is used"):
        open_picture(str(path))


def test_a_still_picture_stays_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(png(IMAGE))
    for text in (str(tmp_path / "a.png"), data_url_of(png(IMAGE))):
        assert same(open_medium(text, 4, animated=True), IMAGE)


# -- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "words"), [
    ("none.png", "does not exist"), ("file:///none.png", "does not exist"), ("none.pdf#2", "none.pdf does not exist"),
    (".", "directory"), ("data:text/plain,hello", "needs that of an image"), ("data:image/png;base64,AA!", "no base64"),
    ("data:image/png;base64,AAAA", "not an image"), ("ftp://a.b/c", "is not read"),
    ("file://other/a.png", "this machine"),
    ("a\0b.png", "does not exist"), ("x" * 5000, "cannot be read"),
])  # fmt: skip
def test_bad_names_are_one_sentence(text, words):
    refused(lambda: open_picture(text, WEBBED), words)
    refused(lambda: open_medium(text, 4, WEBBED, animated=True), words)


def test_a_reading_can_go_to_another_process():
    assert pickle.loads(pickle.dumps(WEBBED)) == WEBBED


def test_bytes_may_be_limited_further():
    assert same(picture_of(png(IMAGE), "a", most=96), IMAGE)
    refused(lambda: picture_of(png(IMAGE), "a", most=95), "limit is 95")
