"""Pages of PDFs: made by hand or by Pillow, drawn at a known resolution, and one sentence for what cannot be."""

import contextlib
import functools
import io

import numpy as np
import pytest
import sentences
from inputs.files import BLUE, GREEN, LOCKED, RED, WHITE, pdf
from PIL import Image
from sentences import quietly

from todre.errors import ImageError, MissingDependencyError
from todre.images import ImageWarning
from todre.inputs import open_picture
from todre.inputs.pdf import DPI, PAGE_PIXELS, draw_page

THREE = pdf(((72, 144), (1, 0, 0)), ((144, 72), (0, 1, 0)), ((72, 72), (0, 0, 1)))


refused = functools.partial(sentences.refused, error=ImageError)


@pytest.mark.parametrize(
    ("page", "size", "colour"), [(1, (150, 300), RED), (2, (300, 150), GREEN), (3, (150, 150), BLUE)]
)
def test_each_page_has_its_size_and_its_colours(page, size, colour):
    assert DPI == 150
    picture = quietly(lambda: draw_page(THREE, "a.pdf", page))
    assert (picture.mode, picture.size) == ("RGB", size)
    values, half = np.asarray(picture), size[0] // 2
    assert (values[:, : half - 1] == colour).all()
    assert (values[:, half + 1 :] == WHITE).all()


def test_the_first_page_is_taken_with_a_warning_if_there_are_more(tmp_path):
    (tmp_path / "a.pdf").write_bytes(THREE)
    with pytest.warns(ImageWarning, match=r"a\.pdf has 3 pages; the first one is used"):
        picture = open_picture(str(tmp_path / "a.pdf"))
    assert picture.size == (150, 300)
    one = pdf(((72, 72), (1, 0, 0)))
    assert quietly(lambda: draw_page(one, "a.pdf")).size == (150, 150)


@pytest.mark.parametrize("behind", ["#page=2", "#2", "#page=2-2", "#02"])
def test_a_page_is_named_behind_the_file(tmp_path, behind):
    (tmp_path / "a.pdf").write_bytes(THREE)
    for name in (str(tmp_path / "a.pdf"), (tmp_path / "a.pdf").as_uri()):
        assert quietly(lambda name=name: open_picture(name + behind)).size == (300, 150)


def test_a_picture_that_pillow_saved_as_pdf_comes_back():
    image = Image.new("RGB", (96, 64), RED)
    image.paste(BLUE, (32, 16, 64, 48))
    stream = io.BytesIO()
    image.save(stream, format="PDF", resolution=DPI, quality=100, subsampling=0)
    found = quietly(lambda: draw_page(stream.getvalue(), "a.pdf"))
    assert found.size == image.size
    assert np.abs(np.asarray(found).astype(int) - np.asarray(image)).mean() < 4


def test_a_page_is_turned_as_it_says():
    found = draw_page(pdf(((72, 144), (1, 0, 0)), extra="/Rotate 90"), "a.pdf")
    assert found.size == (300, 150)
    values = np.asarray(found)
    assert (values[:74] == RED).all()  # a quarter turn clockwise brings the left half to the top
    assert (values[76:] == WHITE).all()


def test_a_poster_is_drawn_at_a_lower_resolution():
    found = draw_page(pdf(((14400, 7200), (1, 0, 0))), "a.pdf")
    assert 0.99 * PAGE_PIXELS < found.width * found.height < 1.01 * PAGE_PIXELS
    assert abs(found.width / found.height - 2) < 0.01
    small = draw_page(THREE, "a.pdf", 1, most=5000)
    assert 4500 < small.width * small.height < 5300


@pytest.mark.parametrize(("data", "page", "words"), [
    (THREE, 4, ["has 3 pages", "page 4"]),
    (pdf(((72, 72), (1, 0, 0))), 2, ["has 1 page,", "page 2"]),
    (pdf(((72, 72), (1, 0, 0)), trailer=LOCKED), None, ["protected by a password"]),
    (b"%PDF-1.7\nno more of it", None, ["damaged"]),
    (b"%PDF-1.7", None, ["damaged"]),
    (pdf(((14000, 20), (1, 0, 0))), None, ["strip"]),
    (pdf(), None, ["a.pdf"]),
])  # fmt: skip
def test_what_cannot_be_drawn_is_one_sentence(data, page, words):
    refused(lambda: draw_page(data, "a.pdf", page), "a.pdf", *words)


def test_damage_anywhere_ends_in_a_picture_or_one_sentence():
    generator = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(THREE)
        for place in generator.integers(8, len(data), 12):
            data[place] = generator.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert draw_page(bytes(data), "a.pdf", 1).mode == "RGB"


@pytest.mark.parametrize("name", ["a.png#page=1", "a.png#1"])
def test_only_a_pdf_has_pages(tmp_path, name):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    refused(lambda: open_picture(str(tmp_path / name)), "is no PDF", "#page=1")


def test_a_range_is_more_than_a_picture(tmp_path):
    (tmp_path / "a.pdf").write_bytes(THREE)
    refused(lambda: open_picture(str(tmp_path / "a.pdf#1-3")), "3 pages")


def test_without_pdfium_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(lambda: draw_page(THREE, "a.pdf"), "a.pdf", "todre[pdf]", error=MissingDependencyError)
