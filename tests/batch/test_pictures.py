"""Pictures for a server: it sees the pixels that a model here sees."""

import base64

import numpy as np
import pytest
from PIL import Image

from todre.batch.pictures import open_picture, url_of
from todre.errors import ImageError
from todre.inputs.data_urls import read_data_url
from todre.scenes import make_scene


def saved(folder, name, image, **options):
    image.save(folder / name, **options)
    return name


def scene():
    return make_scene(3, "val", 96).image


def rotated(folder):
    image = Image.new("RGB", (6, 3), (200, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6
    return saved(folder, "rotated.jpg", image, exif=exif)


FILES = {
    "a.png": lambda folder: saved(folder, "a.png", scene()),
    "a.jpg": lambda folder: saved(folder, "a.jpg", scene()),
    "a.webp": lambda folder: saved(folder, "a.webp", scene()),
    "a.bmp": lambda folder: saved(folder, "a.bmp", scene()),
    "a.tiff": lambda folder: saved(folder, "a.tiff", scene()),
    "cmyk.jpg": lambda folder: saved(folder, "cmyk.jpg", scene().convert("CMYK")),
    "grey.png": lambda folder: saved(folder, "grey.png", scene().convert("L")),
    "seen-through.png": lambda folder: saved(folder, "seen-through.png", Image.new("RGBA", (4, 4), (255, 0, 0, 99))),
    "rotated.jpg": rotated,
}


@pytest.mark.parametrize("name", FILES)
def test_a_server_sees_what_a_model_here_sees(tmp_path, name):
    path = FILES[name](tmp_path)
    here = open_picture(path, tmp_path)
    url = url_of(path, tmp_path)
    assert np.array_equal(np.asarray(read_data_url(url)), np.asarray(here))
    as_it_is = name in ("a.png", "a.jpg", "a.webp")
    assert url.startswith(f"data:image/{'jpeg' if name == 'a.jpg' else name[2:]}" if as_it_is else "data:image/png")
    data = (tmp_path / path).read_bytes()
    assert np.array_equal(np.asarray(open_picture(data, tmp_path)), np.asarray(here))
    assert url_of(data, tmp_path) == url
    assert url_of(url, tmp_path) == url


@pytest.mark.parametrize("name", FILES)
def test_a_server_sees_what_a_model_here_sees_of_a_data_url(tmp_path, name):
    """One that is rotated by its EXIF, grey, CMYK or transparent goes as what is seen here."""
    path = FILES[name](tmp_path)
    data = (tmp_path / path).read_bytes()
    url = f"data:image/x;base64,{base64.b64encode(data).decode()}"
    assert url_of(url, tmp_path) == url_of(path, tmp_path)


def test_what_cannot_be_read_goes_nowhere(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    for picture in ("a.png", "none.png", b"no picture", b"", "data:image/png;base64,AAAA", "http://a/b.png"):
        with pytest.raises(ImageError):
            url_of(picture, tmp_path)


def test_paths_begin_at_the_folder_of_the_rows(tmp_path):
    (tmp_path / "inner").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    assert open_picture("../a.png", tmp_path / "inner").size == (2, 2)
    assert open_picture(str(tmp_path / "a.png"), tmp_path / "inner").size == (2, 2)
