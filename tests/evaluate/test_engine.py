"""Whatever stops a run, and however often: the result is that of a run that nothing stopped."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import played
import pytest
from played import ASKED, GRID, TASKS, playing

import todre
from todre.errors import InvalidValueError, TodreError
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped, run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import grid
from todre.evaluate.group_answers import Asker
from todre.evaluate.workers import Queue
from todre.methods import registry
from todre.running import Settings, answer

FILES = ("result.json", "samples.jsonl", "items.jsonl")


def files(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(ASKED, GRID, folder, start=playing)
    return folder


@pytest.fixture(scope="module")
def real(checkpoint, loaded, tmp_path_factory):
    """What was asked of a model, and the folder of the run."""
    folder = tmp_path_factory.mktemp("real") / "run"
    asked = EvalConfig(TASKS, str(checkpoint), limit=2, size=96, batch_size=4, device="cpu", dtype="float32")
    run(asked, grid(["todre"], [0.2]), folder, loaded=loaded)
    return asked, folder


@pytest.fixture(scope="module")
def groups():
    items = ASKED.items()
    return [[items[place] for place in places] for places in grouped(items, 2)]


def stopping(after):
    def ticker(lines, left, total):
        for number, done in enumerate(lines):
            if number == after:
                raise KeyboardInterrupt
            yield done

    return ticker


@pytest.mark.parametrize("cut", [0, 3, 25])
def test_a_stopped_run_with_a_torn_line_goes_on_to_the_same_files(whole, tmp_path, cut):
    folder = tmp_path / "run"
    for after in (0, 4):
        with pytest.raises(KeyboardInterrupt):
            run(ASKED, GRID, folder, ticker=stopping(after), start=playing)
        journal = folder / "answers.jsonl"
        lines = journal.read_bytes()
        last = lines.rstrip(b"\n").rpartition(b"\n")[2]
        journal.write_bytes(lines + last[:cut])
    run(ASKED, GRID, folder, start=playing)
    assert files(folder) == files(whole)


def test_a_finished_run_answers_nothing_and_more_methods_only_what_is_new(whole, tmp_path):
    folder = tmp_path / "run"
    run(ASKED, grid(["todre"], [0.2]), folder, start=playing)
    again = run(ASKED, grid(["todre"], [0.2]), folder, start=playing)
    assert again.answered == 0
    more = run(ASKED, GRID, folder, start=playing)
    assert more.answered == 3 * again.result["questions"]
    assert files(folder) == files(whole)


def test_other_conditions_are_refused_by_name(whole):
    import dataclasses

    for name, value in (("limit", 3), ("seed", 1), ("group_size", 2)):
        with pytest.raises(InvalidValueError, match=f"belongs to a run with {name}"):
            run(dataclasses.replace(ASKED, **{name: value}), GRID, whole, start=playing)


def test_two_methods_of_one_name_are_refused_by_that_name(tmp_path):
    file = tmp_path / "g-search.json"
    registry.save(registry.create("random", retain=0.5), file)
    with pytest.raises(InvalidValueError, match=r"^Two methods have the name 'g-search'; rename the file of one\.$"):
        grid(["todre", "g-search", str(file)], [0.5, 0.1])


def test_a_run_says_the_device_and_dtype_that_auto_came_to():
    given = ASKED.conditions(ASKED.items())
    assert (given["device"], given["dtype"]) == ("cpu", "float32")


def test_a_run_that_answered_nothing_is_no_obstacle(whole, tmp_path):
    import dataclasses

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(ASKED, limit=3), GRID, folder, ticker=stopping(0), start=playing)
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 1
    run(ASKED, GRID, folder, start=playing)
    assert files(folder) == files(whole)


def test_a_file_of_something_else_is_left_alone(tmp_path):
    for text in ('{"a": 1}\n', "hello\n", "hello"):
        (tmp_path / "answers.jsonl").write_text(text)
        with pytest.raises(InvalidValueError, match=r"answers\.jsonl is no working file"):
            run(ASKED, GRID, tmp_path, start=playing)
        assert (tmp_path / "answers.jsonl").read_text() == text


def test_a_damaged_file_and_a_second_run_are_refused(whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lines = (whole / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder / "answers.jsonl").write_text("".join([*lines[:2], "garbage\n", *lines[3:]]))
    with pytest.raises(InvalidValueError, match=r"Line 3 of .* is no JSON object"):
        run(ASKED, GRID, folder, start=playing)
    (folder / "answers.jsonl").write_text("".join(lines))
    with (folder / "answers.jsonl").open("a") as other:
        import fcntl

        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InvalidValueError, match="written by another run"):
            run(ASKED, GRID, folder, start=playing)


def test_methods_that_refuse_are_left_out_or_an_error(tmp_path):
    both = grid(["evs", "todre"], [0.2])
    with pytest.raises(TodreError, match=r"evs@0\.2 cannot be evaluated: EVS compares"):
        run(ASKED, both, tmp_path / "a", start=playing)
    result = run(ASKED, both, tmp_path / "b", start=playing, forgiving=True).result
    assert [row["name"] for row in result["rows"]] == ["none", "todre"]
    assert list(result["left_out"]) == ["evs@0.2"]
    finished = run(ASKED, both, tmp_path / "b", start=playing, forgiving=True)
    assert (finished.answered, finished.result) == (0, result)


def test_every_answer_is_that_of_asking_alone(real, loaded):
    asked, folder = real
    items = {(item.task, item.id): item for item in asked.items()}
    methods = {"none": todre.NoPruning(), "todre@0.2": todre.ToDRE(retain=0.2)}
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 16
    for sample in samples[::2]:
        item, method = items[sample["task"], sample["id"]], methods[sample["condition"]]
        reply = answer(loaded, [item.media[0]()], item.question, method, Settings(item.new_tokens))
        assert reply.text == sample["prediction"]
        assert reply.report.visual_tokens_after[0] == sample["visual_tokens"]


def test_random_draws_inside_the_model_may_share_a_prompts_beginning(groups, loaded, monkeypatch):
    from todre.evaluate import group_answers as asking
    from todre.methods.random_deep import RandomDeep

    inside = Condition("c", todre.Compose(todre.ToDRE(retain=0.5, stages=(1,)), RandomDeep(retain=0.1, layer=2)))
    shared, _ = Asker(loaded, groups, 8).answer(0, inside)
    monkeypatch.setattr(asking, "can_share", lambda method, depth: False)
    assert Asker(loaded, groups, 8).answer(0, inside)[0] == shared
    monkeypatch.undo()
    reads = todre.Compose(todre.ToDRE(retain=0.5, stages=(1,)), todre.FastV(retain=0.1))
    assert not asking.can_share(reads, 4)


def test_whole_prompts_say_the_same(groups, loaded, monkeypatch):
    """The path of families whose pictures are not encoded apart."""
    from todre.evaluate import group_answers as asking

    condition = Condition("c", todre.ToDRE(retain=0.2))
    apart, _ = Asker(loaded, groups, 8).answer(1, condition)
    monkeypatch.setattr(asking, "_ENCODED_APART", ())
    assert Asker(loaded, groups, 8).answer(1, condition)[0] == apart


def test_scores_and_retention_are_those_of_the_samples(whole):
    result = json.loads((whole / "result.json").read_text())
    samples = [json.loads(line) for line in (whole / "samples.jsonl").read_text().splitlines()]
    by_condition = {}
    for sample in samples:
        by_condition.setdefault((sample["condition"], sample["task"]), []).append(sample["score"])
    none, todre_row, random_row, _ = result["rows"]
    for task in ("scenes-colour", "scenes-caption"):

        def mean(name, task=task):
            return sum(by_condition[name, task]) / len(by_condition[name, task])

        assert none["tasks"][task]["value"] == pytest.approx(mean("none"), abs=1e-6)
        assert todre_row["tasks"][task]["value"] == pytest.approx(mean("todre@0.2"), abs=1e-6)
        both = (mean("random@0.2#0") + mean("random@0.2#1")) / 2
        assert random_row["tasks"][task]["value"] == pytest.approx(both, abs=1e-6)
        difference = todre_row["against_none"]["tasks"][task]["difference"]
        assert difference["value"] == pytest.approx(mean("todre@0.2") - mean("none"), abs=1e-6)
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert len(random_row["against_none"]["mcnemar"]) == 2
    assert todre_row["visual_tokens"] < none["visual_tokens"]


def test_methods_are_compared_with_others_at_their_budget(whole, tmp_path):
    folder = tmp_path / "run"
    planned = grid(["todre", "random", "vtw"], [0.2, 0.1], draws=2)
    result = run(ASKED, planned, folder, start=playing, against=("random", "todre")).result
    rows = {(row["name"], row["retain"]): row for row in result["rows"]}
    assert {key: sorted(row.get("against", {})) for key, row in rows.items()} == {
        ("none", None): [],
        ("todre", 0.2): ["random"],
        ("todre", 0.1): ["random"],
        ("random", 0.2): ["todre"],
        ("random", 0.1): ["todre"],
        ("vtw", None): [],
    }
    for retain in (0.2, 0.1):
        here, there = rows["todre", retain], rows["random", retain]
        found, back = here["against"]["random"], there["against"]["todre"]
        assert found["difference"]["value"] == pytest.approx(here["score"]["value"] - there["score"]["value"])
        assert found["difference"]["low"] == pytest.approx(-back["difference"]["high"])
        for task, score in here["tasks"].items():
            assert found["tasks"][task]["value"] == pytest.approx(score["value"] - there["tasks"][task]["value"])
    with pytest.raises(InvalidValueError, match="No method 'fastv' is evaluated to compare others with"):
        run(ASKED, planned, folder, start=playing, against=("fastv",))


def test_comparing_with_a_method_that_does_not_draw_has_a_test(tmp_path):
    result = run(ASKED, grid(["todre", "fastv"], [0.2]), tmp_path / "run", start=playing, against=("todre",)).result
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    marks = {name: [s["score"] for s in samples if s["condition"] == name] for name in ("todre@0.2", "fastv@0.2")}
    pairs = [(a, b) for a, b in zip(*marks.values(), strict=True) if {a, b} == {0.0, 1.0}]
    found = next(row for row in result["rows"] if row["name"] == "fastv")["against"]["todre"]["mcnemar"]
    assert (found["only_other"], found["only_this"]) == (pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))


def test_groups_hold_whole_pictures():
    items = ASKED.items()
    groups = grouped(items, 3)
    assert sorted(place for group in groups for place in group) == list(range(len(items)))
    pictures = [{items[place].picture for place in group} for group in groups]
    assert all(len(each) == 3 for each in pictures[:-1])
    assert len(set.union(*pictures)) == sum(map(len, pictures))


def test_the_queue_keeps_a_process_on_its_group_and_gives_everything_out_once():
    tasks = [(group, number) for group in range(3) for number in range(4)]
    queue = Queue(tasks, lambda task: task[0], lambda task: task == (1, 2))
    last, given = {0: None, 1: None}, []
    turns = random.Random(0)
    while (task := queue.take(last[who := turns.randrange(2)])) is not None:
        given.append(task)
        last[who] = task
    assert sorted(given) == [task for task in tasks if task != (1, 2)]
    assert queue.take(None) is None


def test_kill_nine_at_random_moments(whole, tmp_path):
    """With one process and with two; `make test-kill` does it twenty times with the model."""
    folder, chance = tmp_path / "run", random.Random(7)
    for processes in ("1", "2"):
        killed = subprocess.Popen([sys.executable, played.__file__, str(folder), processes, "0.05"])
        journal, before = folder / "answers.jsonl", _size(folder / "answers.jsonl")
        while _size(journal) <= before and killed.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert not (folder / "result.json").exists()
    subprocess.run([sys.executable, played.__file__, str(folder), "2", "0"], check=True)
    assert files(folder) == files(whole)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
