"""Questions on which methods disagree, and their pictures."""

import base64
import io
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from played import ASKED, playing

from todre.errors import InvalidValueError
from todre.evaluate.engine import run
from todre.evaluate.grid import grid
from todre.onepage import samples as module
from todre.onepage.samples import samples_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "run"
    run(ASKED, grid(["todre", "random"], [0.5], draws=1), folder, start=playing)
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    """The run in a folder that a test may spoil."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def made(folder, most=12):
    file = folder / "result.json"
    return samples_of(file, json.loads(file.read_text()), most).samples


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_questions_are_those_whose_marks_differ(folder):
    marks, given = defaultdict(set), defaultdict(set)
    for line in lines(folder / "samples.jsonl"):
        marks[line["task"], line["id"]].add(line["score"])
        given[line["task"], line["id"]].add((line["condition"], line["prediction"]))
    unlike = {key for key, found in marks.items() if len(found) > 1}
    found = made(folder, 100)
    assert 4 < len(unlike) < len(marks)
    assert {(each.task, each.id) for each in found.found} == unlike
    assert found.sentence.startswith(f"{len(unlike)} of {len(unlike)} questions")
    for each in found.found:
        shown = {(name, answer.text) for answer in each.answers for name in answer.conditions}
        assert shown == given[each.task, each.id]
        values = [float(answer.mark) for answer in each.answers]
        assert values == sorted(values, reverse=True)
    items = {(line["task"], line["id"]): line for line in lines(folder / "items.jsonl")}
    assert all(items[each.task, each.id]["question"] == each.question for each in found.found)
    assert all(items[each.task, each.id]["references"] == list(each.references) for each in found.found)


def test_few_questions_are_of_every_task_in_turn(folder):
    tasks = len({each.task for each in made(folder, 100).found})
    few = made(folder, tasks).found
    assert len({each.task for each in few}) == len(few) == tasks


def test_pictures_are_those_of_the_questions(folder):
    items = {(item.task, item.id): item for item in ASKED.items()}
    for each in made(folder, 100).found:
        (address,) = each.pictures
        data = base64.b64decode(address.removeprefix("data:image/webp;base64,"), validate=True)
        shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
        whole = np.asarray(items[each.task, each.id].media[0]().convert("RGB"), dtype=float)
        assert shown.shape == whole.shape
        assert np.abs(shown - whole).mean() < 6
        others = [item for item in items.values() if item.picture != items[each.task, each.id].picture]
        assert min(np.abs(shown - np.asarray(item.media[0](), dtype=float)).mean() for item in others) > 6


def test_no_questions_where_none_are_asked_for_or_there(folder, copied):
    assert made(folder, 0).found == ()
    (copied / "samples.jsonl").unlink()
    found = made(copied)
    assert (found.found, "do not lie beside the result" in found.sentence) == ((), True)


def test_pictures_that_cannot_be_made_again_are_said(copied):
    file = copied / "result.json"
    document = json.loads(file.read_text())
    document["conditions"]["tasks"] = ["gone.jsonl"]
    file.write_text(json.dumps(document))
    found = made(copied)
    assert "cannot be made again: gone.jsonl does not exist" in found.sentence
    assert found.found
    assert not any(each.pictures for each in found.found)
    document["conditions"] |= {"tasks": list(ASKED.tasks), "seed": 1}
    file.write_text(json.dumps(document))
    found = made(copied)
    assert "make other questions of the same names" in found.sentence
    assert not any(each.pictures for each in found.found)


def test_a_foolish_limit_costs_no_time(copied):
    file = copied / "result.json"
    document = json.loads(file.read_text())
    document["conditions"]["limit"] = 10**12
    file.write_text(json.dumps(document))
    assert "other questions" in made(copied).sentence


def test_pictures_beyond_the_room_are_left_out(folder, monkeypatch):
    whole = made(folder, 5)
    size = sum(len(picture) for each in whole.found[:2] for picture in each.pictures)
    monkeypatch.setattr(module, "MOST_BYTES", size)
    found = made(folder, 5)
    assert [bool(each.pictures) for each in found.found] == [True, True, False, False, False]
    assert "Pictures of 3 are left out" in found.sentence


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("items.jsonl", lambda text: text.replace("cyan", "pink").replace("red", "pink"), "holds other questions"),
        ("items.jsonl", lambda text: "[1]\n", "Line 1 of"),
        ("samples.jsonl", lambda text: text.replace('"id": "', '"id": "x', 1), "answers no question of items.jsonl"),
        ("samples.jsonl", lambda text: text[:-20] + "\n", "samples.jsonl"),
        ("samples.jsonl", lambda text: text.replace('"score": 1.0', '"score": "1"', 1), "needs a number"),
    ],
)
def test_a_damaged_file_is_one_sentence(copied, name, change, words):
    file = copied / name
    before = file.read_text()
    file.write_text(change(before))
    assert file.read_text() != before
    with pytest.raises(InvalidValueError) as caught:
        made(copied)
    assert words in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert "--samples 0" in str(caught.value)
