"""What a run of benchmarks/third_party takes up, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from todre.errors import InvalidValueError


@pytest.fixture
def read_again(part, monkeypatch, tmp_path):
    """Asks for one chunk's answers, and says whether the model read for them."""
    runs, calls = part("latex_runs"), []
    monkeypatch.setattr(runs, "_made", lambda chunk, texts: calls.append(texts) or {"unpruned": list(texts)})
    chunk = runs.Chunk(0, 5, 4, ("random",), tmp_path, {"torch": "1", "code": "a"})

    def asked(**changes):
        calls.clear()
        found = runs._answered(dataclasses.replace(chunk, **changes))
        assert found["formulas"] == found["unpruned"] == list(runs.formulas(0, 9))[5 : 5 + len(found["formulas"])]
        return bool(calls)

    asked.module = runs
    return asked


def test_answers_of_formulas_are_taken_up_only_where_all_that_decides_them_is_the_same(read_again):
    assert read_again()
    assert not read_again()
    for changes in ({"made_by": {"torch": "2", "code": "a"}}, {"made_by": {"torch": "1", "code": "b"}}, {"count": 3}):
        assert read_again(**changes)
        assert not read_again(**changes)
        assert read_again()


@pytest.mark.parametrize("name", ["DPI", "MARGIN", "ROOM"])
def test_answers_of_formulas_are_not_taken_up_with_another_setting(read_again, monkeypatch, name):
    assert read_again()
    monkeypatch.setattr(read_again.module, name, 99)
    assert read_again()


def test_answers_of_formulas_are_not_taken_up_with_another_grammar(read_again, monkeypatch):
    assert read_again()
    monkeypatch.setattr(read_again.module, "formulas", lambda seed, count: [f"{seed} = {at}" for at in range(count)])
    assert read_again()


def test_answers_of_scenes_are_taken_up_only_where_all_that_decides_them_is_the_same(part, monkeypatch, tmp_path):
    features, cutouts, calls = part("features"), part("cutouts"), []
    monkeypatch.setattr(features, "scenes", lambda paths, number, count: list(range(count)))
    monkeypatch.setattr(features, "_measured", lambda part, made: calls.append(made) or made)
    stamps = cutouts.Stamps((tmp_path / "a.png",), "a")
    first = features.Part(1, 5, 2, ("random",), stamps, tmp_path, {"torch": "1", "code": "a"})

    def measured_again(**changes):
        calls.clear()
        assert features._answered(dataclasses.replace(first, **changes))["scenes"][0] == 5
        return bool(calls)

    assert measured_again()
    assert not measured_again()
    others = {"made_by": {"torch": "2", "code": "a"}}, {"stamps": cutouts.Stamps(stamps.paths, "b")}, {"count": 1}
    for changes in others:
        assert measured_again(**changes)
        assert not measured_again(**changes)
        assert measured_again()


def test_the_code_that_made_answers_is_told_by_what_is_in_its_files(part, tmp_path):
    made_by = part("made_by")
    (tmp_path / "inner").mkdir()
    file = tmp_path / "inner" / "a.py"
    file.write_text("x = 1\n", encoding="utf-8")
    before = made_by.hash_of([tmp_path])
    for ignored in ("a.pyc", "README.md"):
        (tmp_path / ignored).write_text("else", encoding="utf-8")
    assert made_by.hash_of([tmp_path]) == before
    file.write_text("x = 2\n", encoding="utf-8")
    assert made_by.hash_of([tmp_path]) != before
    file.write_text("x = 1\n", encoding="utf-8")
    file.rename(tmp_path / "inner" / "b.py")
    assert made_by.hash_of([tmp_path]) != before


def test_answers_carry_the_versions_of_the_packages_that_decide_them(part, monkeypatch):
    made_by = part("made_by")
    monkeypatch.setattr(made_by, "version", lambda name: f"{name} 7")
    found = made_by.made_by("one", "two")
    assert found == {"one": "one 7", "two": "two 7", "code": made_by.hash_of(made_by.CODE)}


def write_stamps(folder, count):
    """Cut-outs that look like photographs."""
    rng = np.random.default_rng(0)
    image = np.zeros((100, 100, 4), dtype=np.uint8)
    image[10:90, 10:90] = np.concatenate(
        [rng.integers(0, 200, size=(80, 80, 3)), np.full((80, 80, 1), 255)], axis=2, dtype=np.uint8, casting="unsafe"
    )
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.fromarray(image).save(folder / f"photo-{number}.png")


def test_stamps_are_told_apart_by_their_names_and_pictures_and_not_by_where_they_lie(part, tmp_path):
    cutouts = part("cutouts")
    for name in ("here", "there", "renamed", "redrawn"):
        write_stamps(tmp_path / name, 5)
    (tmp_path / "renamed" / "photo-4.png").rename(tmp_path / "renamed" / "photo-9.png")
    with Image.open(tmp_path / "redrawn" / "photo-2.png") as opened:
        turned = opened.rotate(90)
    turned.save(tmp_path / "redrawn" / "photo-2.png")
    here, there, renamed, redrawn = (
        cutouts.stamps_in(tmp_path / name) for name in ("here", "there", "renamed", "redrawn")
    )
    assert [path.name for path in here.paths] == [f"photo-{number}.png" for number in range(5)]
    assert here.digest == there.digest
    assert len({here.digest, renamed.digest, redrawn.digest}) == 3


def test_too_few_stamps_are_refused_before_anything_is_read(part, monkeypatch, tmp_path, capsys):
    cutouts, measure = part("cutouts"), part("measure")
    write_stamps(tmp_path / "stamps", 4)
    with pytest.raises(InvalidValueError, match=r"holds 4 cut-outs .* up to 5"):
        cutouts.stamps_in(tmp_path / "stamps")
    monkeypatch.setattr(measure.latex_runs, "checks", lambda: pytest.fail("formulas were read"))
    words = ["--work", str(tmp_path), "--output", str(tmp_path / "x.json"), "--stamps", str(tmp_path / "stamps")]
    assert measure.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("place", "words"), [("missing/x.json", "missing is no folder"), ("", "is a folder"), ("x.json", "there already")]
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_installed(
    part, monkeypatch, tmp_path, capsys, place, words
):
    run = part("run")
    monkeypatch.setattr(run, "environment", lambda folder: pytest.fail("an environment was made"))
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    given = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / place)]
    assert run.main(given if place == "x.json" else [*given, "--force"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
