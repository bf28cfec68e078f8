"""What is one picture, one batch, one budget, and one run: things of equal names are not taken for each other."""

from __future__ import annotations

import dataclasses
import json

import pytest
from PIL import Image
from played import ASKED, GRID, playing

import todre
from todre.errors import InvalidValueError, TodreError
from todre.evaluate import runner
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped, run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import Grid, Row, grid
from todre.evaluate.group_answers import Asker, _key
from todre.evaluate.hard_split import hard_splits
from todre.evaluate.journal import Done
from todre.evaluate.summary import Sample
from todre.evaluate.workers import Queue, inline
from todre.methods import registry
from todre.methods.downsample import Downsample
from todre.tiny import SHIPPED_VIDEO

COLOUR = "What color is it?"


def asked_in(folder, name, *lines, colour="red"):
    """A file of questions in a folder with pictures of one colour; returns its path."""
    folder.mkdir(exist_ok=True)
    for picture in ("1.png", "a b.png", "c", "a", "b c.png"):
        Image.new("RGB", (96, 96), colour).save(folder / picture, format="png")
    file = folder / name
    file.write_text("".join(json.dumps({"question": COLOUR, "answer": "red"} | line) + "\n" for line in lines))
    return str(file)


def test_pictures_of_one_name_in_two_folders_are_two(tmp_path, loaded):
    files = (
        asked_in(tmp_path / "red", "first.jsonl", {"image": "1.png"}),
        asked_in(tmp_path / "blue", "second.jsonl", {"image": "1.png"}, colour="blue"),
        asked_in(tmp_path / "red", "third.jsonl", {"image": "1.png"}),
    )
    config = EvalConfig(files, "./nowhere", device="cpu")
    items = config.items()
    assert [item.picture for item in items] == ["first:1.png", "second:1.png", "first:1.png"]
    assert grouped(items, 1) == [[0, 2], [1]]
    groups = [items]
    together = Asker(loaded, groups, 8).answer(0, Condition("c", todre.ToDRE(retain=0.3)))[0]
    each = [Asker(loaded, [[item]], 8).answer(0, Condition("c", todre.ToDRE(retain=0.3)))[0][0] for item in items]
    assert together == each
    assert [item.picture for item in EvalConfig(files[:1], "./nowhere").items()] == ["1.png"]  # as it always was


def test_several_pictures_are_told_apart_by_every_name(tmp_path):
    lines = {"image": ["a b.png", "c"]}, {"image": ["a", "b c.png"]}
    first, second = EvalConfig((asked_in(tmp_path / "x", "q.jsonl", *lines),), "./nowhere").items()
    assert first.picture != second.picture
    assert _key(first) != _key(second)


def test_clips_of_different_lengths_are_answered_in_batches_of_their_own(tmp_path):
    """Six frames and ten, which no batch can hold together."""
    results = []
    for size in (1, 8):
        config = EvalConfig(
            ("scenes-video-moves", "screens-clip-become"), SHIPPED_VIDEO, limit=2, device="cpu", batch_size=size
        )
        results.append(run(config, grid(["todre"], [0.25]), tmp_path / str(size)).result["rows"])
    assert results[0] == results[1]


def refusing(names):
    """playing(), where conditions of some names refuse."""

    def start(asked):
        work = playing(asked)

        def answered(task):
            return Done(task[0], 0.0, [], "not today") if task[1].name in names else work(task)

        return answered

    return start


@pytest.mark.parametrize("forgiving", [False, True])
def test_no_pruning_is_never_left_out(tmp_path, forgiving):
    with pytest.raises(TodreError, match=r"^none cannot be evaluated: not today$"):
        run(ASKED, GRID, tmp_path / "run", start=refusing(["none"]), forgiving=forgiving)
    assert not (tmp_path / "run" / "result.json").exists()


def test_what_refused_is_asked_again(tmp_path):
    folder = tmp_path / "run"
    left = run(ASKED, GRID, folder, start=refusing(["fastv@0.2"]), forgiving=True).result
    assert list(left["left_out"]) == ["fastv@0.2"]
    with pytest.raises(TodreError, match=r"fastv@0\.2 cannot be evaluated"):
        run(ASKED, GRID, folder, start=refusing(["fastv@0.2"]))
    mended = run(ASKED, GRID, folder, start=playing).result
    assert mended == run(ASKED, GRID, tmp_path / "whole", start=playing).result
    assert run(ASKED, GRID, folder, start=refusing(["fastv@0.2"])).answered == 0


def test_one_process_stays_on_a_group_as_long_as_it_can():
    tasks = [(group, number) for group in range(3) for number in range(3)]
    done = list(inline(lambda: lambda task: task, Queue(tasks, lambda task: task[0], lambda task: False)))
    assert done == tasks


def samples_of(config, marks):
    return [[Sample("x", mark, 40, 20.0, None) for mark in marks[: len(config)]]]


def test_rows_without_a_number_are_compared_only_where_their_budgets_are_equal(tmp_path):
    """Methods from files and automatic budgets have no number in the grid, and are no equal budget for it."""
    rows = []
    for name, method in (
        ("quarter", Downsample(retain=0.25)), ("half", todre.ToDRE(retain=0.5)), ("same", todre.ToDRE(retain=0.25)),
        ("auto", todre.ToDRE(retain="auto")), ("vtw", registry.create("vtw")),
    ):  # fmt: skip
        rows.append(Row(name, None, (Condition(name, method),)))
    items = ASKED.items()
    answered = [
        (row, samples_of(items, [1.0] * len(items))) for row in (Row("none", None, GRID.rows[0].conditions), *rows)
    ]
    (split,) = hard_splits(items, answered)
    assert [row["name"] for row in split["rows"]] == ["same"]
    found = run(ASKED, Grid((GRID.rows[0], *rows[1:]), {}), tmp_path / "run", start=playing, against=["same"]).result
    assert [row["name"] for row in found["rows"] if "against" in row] == []
    more = Row("other", None, (Condition("other", todre.DivPrune(retain=0.25)),))
    found = run(ASKED, Grid((GRID.rows[0], rows[2], more), {}), tmp_path / "b", start=playing, against=["same"]).result
    assert [row["name"] for row in found["rows"] if "against" in row] == ["other"]


def test_a_model_by_its_short_path_is_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    short = runner.model_sha256("~/model")
    assert short == runner.model_sha256(str(tmp_path / "model"))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"Weights")
    assert runner.model_sha256("~/model") != short


def test_held_out_answers_belong_to_the_packages_that_gave_them(monkeypatch):
    from todre.evaluate.session import Settings

    before = runner.fingerprint(Settings())
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "99"})
    assert runner.fingerprint(Settings()) != before
    assert runner.fingerprint(dataclasses.replace(Settings(), batch_size=3)) == runner.fingerprint(Settings())


def test_a_second_run_does_not_write_into_the_first_ones_file(tmp_path):
    from todre.evaluate.conditions import NONE
    from todre.evaluate.session import Settings

    class Nested:
        """A session during which the same run is begun again."""

        def answer_group(self, group, condition):
            with pytest.raises(InvalidValueError, match="is being written by another run"):
                runner.run(Settings(group_size=1), [NONE], 1, tmp_path, session=self)
            return [], 0.0

    assert runner.run(Settings(group_size=1), [NONE], 1, tmp_path, session=Nested()).by_condition == {"none": []}


def test_a_method_counts_by_the_files_that_it_reads(tmp_path):
    """Weights that were trained again under the same name are other answers, also inside a composition."""
    from todre.batch.model_answers import Answering

    weights = tmp_path / "glimpse.safetensors"
    seen = []
    for content in (b"one", b"two", b"one"):
        weights.write_bytes(content)
        alone = registry.create("glimpseprune", weights=str(weights))
        both = todre.Compose(todre.ToDRE(stages=(1,)), alone)
        batch = Answering(folder=tmp_path, method=alone.to_dict()).conditions()["method"]
        seen.append((Condition("c", alone).to_dict(), Condition("c", both).to_dict(), batch))
    for first, second, third in zip(*seen, strict=True):
        assert first == third != second
    assert "files" not in Condition("c", registry.create("glimpseprune")).to_dict()


def test_a_model_on_the_hub_is_its_commit(monkeypatch):
    commits = iter(["one", "two"])
    monkeypatch.setattr("todre.hub.fetch_config", lambda model: type("Folder", (), {"name": next(commits)}))
    config = EvalConfig(("scenes-colour",), "org/model", limit=1, device="cpu")
    first, second = (config.conditions(config.items()) for _ in range(2))
    assert (first["revision"], second["revision"]) == ("one", "two")
    assert "revision" not in ASKED.conditions(ASKED.items())
