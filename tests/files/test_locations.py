"""What a text that names a picture means, without opening it."""

from pathlib import Path

import pytest

from todre.errors import ImageError
from todre.files.locations import label_of, local_file, located, names_picture


@pytest.mark.parametrize(("text", "kind", "path", "pages"), [
    ("a.png", "path", "in/a.png", None),
    ("/x/a.png", "path", "/x/a.png", None),
    ("./-", "path", "in/-", None),
    ("-", "stdin", None, None),
    ("file:///x/a%20b.png", "path", "/x/a b.png", None),
    ("FILE://localhost/x/a.png", "path", "/x/a.png", None),
    ("file:///x/a%23b.pdf#page=2", "path", "/x/a#b.pdf", (2, 2)),
    ("a.pdf#page=3", "path", "in/a.pdf", (3, 3)),
    ("a.PDF#3", "path", "in/a.PDF", (3, 3)),
    ("a.pdf#2-14", "path", "in/a.pdf", (2, 14)),
    ("a#b.pdf#2", "path", "in/a#b.pdf", (2, 2)),
    ("a#2.png", "path", "in/a#2.png", None),
    ("a#2", "path", "in/a#2", None),
    ("a.pdf#toc", "path", "in/a.pdf#toc", None),
    ("data:image/png;base64,AA", "data", None, None),
    ("https://a.b/c.png?d=1", "web", None, None),
    ("HTTP://a.b/c.pdf#page=2", "web", None, (2, 2)),
    ("https://a.b/c.png#top", "web", None, None),
])  # fmt: skip
def test_what_a_text_means(text, kind, path, pages):
    place = located(text, Path("in"))
    assert (place.kind, place.path, place.pages) == (kind, None if path is None else Path(path), pages)
    if kind == "web":
        assert place.text == text.partition("#")[0]


def test_an_empty_name_is_no_folder():
    """As of a variable of a shell that is not set: not all pictures of the folder one stands in."""
    with pytest.raises(ImageError, match="An empty name names no picture; give a path"):
        located("")
    assert local_file("") is None
    assert not names_picture("")


def test_a_file_of_just_that_name_comes_before_a_page(tmp_path):
    assert located("a.pdf#2", tmp_path).pages == (2, 2)
    (tmp_path / "a").touch()
    assert located("a#2", tmp_path).pages == (2, 2)
    for name in ("a.pdf#2", "a#2"):
        (tmp_path / name).touch()
        assert located(name, tmp_path).path == tmp_path / name


@pytest.mark.parametrize("text", [
    "ftp://a.b/c.png", "file://host/a.png", "file://", "file://[x/a.png", "file:///a%00b", "a.pdf#0", "a.pdf#page=3-2",
    "https://a.b/c.pdf#page=0",
])  # fmt: skip
def test_what_means_nothing_is_one_sentence(text):
    with pytest.raises(ImageError) as caught:
        located(text)
    assert text in str(caught.value)
    assert str(caught.value).endswith(".")
    assert local_file(text) is None


def test_results_name_a_data_url_by_a_digest():
    one, other = (f"data:image/png;base64,{letter * 4000}" for letter in "AB")
    assert label_of(one) != label_of(other)
    assert len(label_of(one)) < 100
    assert label_of(one) == located(one).label
    assert label_of("a.png") == "a.png"


def test_whether_a_text_names_a_picture(tmp_path):
    (tmp_path / "a.pdf").touch()
    there = [str(tmp_path / "a.pdf"), f"{tmp_path}/a.pdf#2", "https://a.b/c", "data:image/png,", "file:///none"]
    assert all(map(names_picture, there))
    for text in ("What is it?", str(tmp_path), "-", "https://a.b is what?", "x" * 5000, "a\0b", "is a.pdf#2 red?"):
        assert not names_picture(text)
