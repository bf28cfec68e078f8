"""Folders, patterns and ranges of pages, and the order of their names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs.files import specimen

from todre.errors import ImageError
from todre.inputs import named_pictures, one_picture
from todre.inputs.several import natural


@pytest.fixture
def folder(tmp_path):
    for name in ("b10.png", "b2.PNG", "a.jpg", "B3.png", ".hidden.png"):
        specimen().save(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "inner.png").mkdir()
    return tmp_path


def names(texts, folder, most=100):
    return [name.removeprefix(f"{folder}/") for name in named_pictures([f"{folder}{text}" for text in texts], most)]


def test_a_folder_stands_for_its_pictures_in_natural_order(folder):
    assert names([""], folder) == ["a.jpg", "b2.PNG", "B3.png", "b10.png"]
    assert named_pictures([folder.as_uri()]) == named_pictures([str(folder)])


def test_a_pattern_stands_for_what_it_fits(folder):
    assert names(["/b*"], folder) == ["b2.PNG", "b10.png"]
    assert names(["/b*", "/a.jpg"], folder) == ["b2.PNG", "b10.png", "a.jpg"]


def test_a_files_own_name_is_no_pattern(folder):
    specimen().save(folder / "[b2].png")
    assert names(["/[b2].png"], folder) == ["[b2].png"]


def test_pages_are_named_one_by_one():
    assert named_pictures(["a.pdf#page=2-4", "b.pdf#7", "c.pdf"]) == (
        "a.pdf#page=2", "a.pdf#page=3", "a.pdf#page=4", "b.pdf#7", "c.pdf",
    )  # fmt: skip
    assert named_pictures(["https://a.b/c.pdf#1-2"]) == ("https://a.b/c.pdf#page=1", "https://a.b/c.pdf#page=2")


def test_everything_else_stands_for_itself():
    texts = ("-", "none.png", "https://a.b/*.png?x=[1]", "data:image/png;base64,AAAA", "a*b/?.png"[:0] or "x.png")
    assert named_pictures(texts) == texts


@pytest.mark.parametrize(("texts", "words"), [
    (["/*.gif"], "fits no file"), (["/notes.txt/*"], "fits no file"), (["/inner*"], "folders only"),
    (["/inner.png"], "without pictures"),
])  # fmt: skip
def test_nothing_that_fits_is_one_sentence(folder, texts, words):
    with pytest.raises(ImageError, match=words) as caught:
        names(texts, folder)
    assert str(caught.value).endswith(".")


def test_there_may_not_be_too_many(folder):
    with pytest.raises(ImageError, match="4 pictures, and at most 3 go together"):
        names([""], folder, most=3)
    with pytest.raises(ImageError, match="5 pictures, and at most 4"):
        names(["/a.jpg", ""], folder, most=4)
    with pytest.raises(ImageError, match="more than 100 pages"):
        named_pictures(["a.pdf#1-101"])
    assert len(named_pictures(["x.png"] * 200)) == 200  # each was named by hand


def test_standard_input_is_given_once():
    with pytest.raises(ImageError, match="given twice"):
        named_pictures(["-", "a.png", "-"])


def test_one_picture_is_one(folder):
    assert one_picture("a.pdf#3") == "a.pdf#3"
    assert one_picture(f"{folder}/a*") == f"{folder}/a.jpg"
    for several in (str(folder), f"{folder}/b*", "a.pdf#1-2"):
        with pytest.raises(ImageError, match="stands for"):
            one_picture(several)


@given(st.lists(st.integers(0, 10**6), unique=True), st.text("ab_", max_size=3))
def test_numbers_in_names_count_as_numbers(numbers, before):
    found = sorted((f"{before}{number}.png" for number in numbers), key=natural)
    assert [int(re.search(r"\d+", name)[0]) for name in found] == sorted(numbers)


@given(st.text(), st.text())
def test_any_two_names_have_an_order(one, other):
    assert (natural(one) < natural(other)) + (natural(other) < natural(one)) == (one != other)
