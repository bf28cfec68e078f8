"""Cells of a real model: run once, kept, and put together; lmms-eval is a script that writes what lmms-eval writes."""

import json
import sys
from types import SimpleNamespace

import pytest

from todre.errors import LoadError, MissingDependencyError, TodreError
from todre.methods import registry
from todre.published import table
from todre.reproduce.benchmarks import chosen
from todre.reproduce.cells import Run, cells, finished, measure, require_lmms_eval
from todre.reproduce.document import Description, document
from todre.reproduce.outcome import average
from todre.reproduce.pages import markdown
from todre.reproduce.plan import PACE, duration, lines, plan
from todre.reproduce.real import measured, run_cells
from todre.reproduce.subjects import rows_about, subjects

TABLE = table("v1-table4")
NEXT_7B = "llava-hf/llava-v1.6-vicuna-7b-hf"
_SCRIPT = """#!{python} -IS
import json, pathlib, sys
options = dict(zip(sys.argv, sys.argv[1:]))
arguments = dict(each.split("=", 1) for each in options["--model_args"].split(","))
method = json.loads(pathlib.Path(arguments["method"]).read_text())
with open({log!r}, "a") as log:
    log.write(method["method"] + " " + options["--tasks"] + "\\n")
if method["method"] in {refused!r}:
    print("Traceback")
    sys.exit("error: TodreError: it does not apply here.")
folder = pathlib.Path(options["--output_path"], "m")
folder.mkdir(parents=True, exist_ok=True)
task, stem = options["--tasks"], "20260101_000000"
score = 1.0 if method["method"] == "none" else 0.5
results = {{"results": {{task: {{"alias": task, "right,none": score}}}}, "config": {{"model_args": "x"}}}}
(folder / (stem + "_results.json")).write_text(json.dumps(results))
(folder / (stem + "_samples_" + task + ".jsonl")).write_text("".join(
    json.dumps({{"doc_id": number}}) + "\\n" for number in range(int(options.get("--limit", 7)))))
"""


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """hub(commit) → the hub says that its models are of this commit, or, with None, cannot be reached."""

    def answer(commit):
        def revision_of(model):
            if commit is None:
                raise LoadError("There is no network.")
            return commit

        monkeypatch.setattr("todre.reproduce.cells.revision_of", revision_of)

    answer(None)
    return answer


@pytest.fixture
def harness(tmp_path):
    """harness(*refused) → a Python that answers as lmms-eval, and the file with what it was asked."""

    def make(*refused):
        log = tmp_path / "calls.txt"
        script = tmp_path / "python"
        script.write_text(_SCRIPT.format(python=sys.executable, log=str(log), refused=refused))
        script.chmod(0o755)
        return str(script), log

    return make


@pytest.fixture
def benchmarks():
    return chosen(("POPE", "GQA"), {"POPE": "my_pope:right", "GQA": "my_gqa"})


def test_a_finished_cell_is_not_run_again_and_another_limit_is_another_cell(harness, benchmarks, tmp_path):
    python, log = harness()
    run = Run(NEXT_7B, tmp_path, limit=3, python=python)
    todo = cells(subjects(TABLE.rows)[:2], benchmarks)
    assert [(cell.subject.key, cell.task) for cell in todo] == [
        ("none", "my_pope"), ("none", "my_gqa"), ("todre-v1:stages=2", "my_pope"), ("todre-v1:stages=2", "my_gqa"),
    ]  # fmt: skip
    assert plan(todo, benchmarks, run).missing == todo
    measure(todo[0], run)
    assert finished(todo[0], run)["metrics"] == {"right": 1.0}
    notes = []
    known, failed = run_cells(todo, run, notes.append)
    assert log.read_text() == "none my_pope\nnone my_gqa\ntodre my_pope\ntodre my_gqa\n"
    assert (len(known), failed, len(notes)) == (4, {}, 3)
    assert "cell 3 of 4" in notes[1]
    assert "left" in notes[1]
    again = plan(todo, benchmarks, run)
    assert (again.missing, again.questions) == ((), 0)
    run_cells(todo, run, pytest.fail)
    assert finished(todo[0], Run(NEXT_7B, tmp_path, limit=4, python=python)) is None
    kept = json.loads(todo[2].file(run).read_text())
    assert kept["conditions"]["method"] == registry.create("todre-v1", stages=(2,)).to_dict()
    assert kept["questions"] == 3


def test_cells_of_other_tasks_or_of_another_harness_are_others(benchmarks, tmp_path, harness):
    python, _ = harness()
    tasks = tmp_path / "tasks"
    (tasks / "mine").mkdir(parents=True)
    (tasks / "mine" / "mine.yaml").write_text("task: mine")
    one = cells(subjects(TABLE.rows)[:1], benchmarks)[0]
    first = one.file(Run(NEXT_7B, tmp_path, python=python, include_path=tasks))
    assert one.file(Run(NEXT_7B, tmp_path, python=python, include_path=tasks)) == first
    (tasks / "mine" / "mine.yaml").write_text("task: other")
    other = one.file(Run(NEXT_7B, tmp_path, python=python, include_path=tasks))
    assert len({first, other, one.file(Run(NEXT_7B, tmp_path, python=python))}) == 3
    newer = tmp_path / "newer"
    newer.write_text("#!/bin/sh\necho 99.0 99.0\n")
    newer.chmod(0o755)
    assert one.file(Run(NEXT_7B, tmp_path, python=str(newer))) != one.file(Run(NEXT_7B, tmp_path, python=python))


def test_cells_of_retrained_weights_are_others(benchmarks, tmp_path, hub, monkeypatch):
    python = str(tmp_path / "none")
    one = cells(subjects(TABLE.rows)[:1], benchmarks)[0]
    unknown = one.file(Run(NEXT_7B, tmp_path, python=python))
    hub("a" * 40)
    first = one.file(Run(NEXT_7B, tmp_path, python=python))
    assert Run(NEXT_7B, tmp_path, python=python).conditions["revision"] == "a" * 40
    hub("b" * 40)
    assert len({unknown, first, one.file(Run(NEXT_7B, tmp_path, python=python))}) == 3
    monkeypatch.undo()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "merges.txt").write_text("a b")
    found = []
    for name, text in (("model.safetensors", "abc"), ("model.safetensors", "abd"), ("merges.txt", "a")):
        (model / name).write_text(text)
        found.append(one.file(Run(str(model), tmp_path, python=python)))
        assert one.file(Run(str(model), tmp_path, python=python)) == found[-1]
    assert len(set(found)) == 3


def test_rows_have_published_measured_and_difference_and_a_refusal_its_reason(harness, benchmarks, tmp_path):
    found = table("v2-table1")
    about = rows_about(found, NEXT_7B)
    python, _ = harness("sparsevlm")
    run = Run(NEXT_7B, tmp_path, python=python)
    todo = cells(subjects(about.rows[:4], "count"), benchmarks)
    known, failed = run_cells(todo, run, lambda line: None)
    values, reasons = measured(found, about.rows[:4], benchmarks, known, failed, "count")
    description = Description(NEXT_7B, "A statement.", True, {"POPE": "my_pope"}, ["A warning."], {}, "todre reproduce")
    result = document(found, about.rows[:4], values, reasons, description)
    none, fastv, sparsevlm, fastervlm = result["rows"]
    assert none["cells"]["POPE"] == {"published": 87.7, "measured": 100.0, "difference": 12.3, "note": None}
    assert fastv["cells"]["POPE"]["measured"] == fastervlm["cells"]["GQA"]["measured"] == 50.0
    assert fastv["cells"]["average_percent"]["measured"] == 50.0
    assert fastv["cells"]["MME"]["measured"] is None
    assert sparsevlm["cells"]["POPE"] == {"published": 71.0, "measured": None, "difference": None, "note": None}
    assert "it does not apply here" in sparsevlm["reason"]
    page = markdown(result)
    assert "| SparseVLM, 25 % | paper | 1446.1 |" in page
    assert "* A warning." in page
    assert "SparseVLM, 25 % was not measured: my_pope: lmms-eval did not finish my_pope: error: TodreError: it" in page


def test_times_of_a_row_add_up(harness, benchmarks, tmp_path):
    python, _ = harness()
    run = Run(NEXT_7B, tmp_path, python=python)
    todo = cells(subjects(TABLE.rows[:1]), benchmarks)
    known, failed = run_cells(todo, run, lambda line: None)
    values, _ = measured(TABLE, TABLE.rows[:1], benchmarks, known, failed, "share")
    assert values[0]["seconds"] == pytest.approx(sum(found["seconds"] for found in known.values()))


def test_where_no_pruning_fails_nothing_goes_on(harness, benchmarks, tmp_path):
    python, log = harness("none")
    run = Run(NEXT_7B, tmp_path, python=python)
    with pytest.raises(TodreError, match=r"did not finish my_pope: error: TodreError: it does .* \(all it said is in"):
        run_cells(cells(subjects(TABLE.rows), benchmarks), run, lambda line: None)
    assert log.read_text() == "none my_pope\n"


def test_numbers_of_an_earlier_attempt_are_not_taken_for_those_of_a_failed_one(harness, benchmarks, tmp_path):
    cell = cells(subjects(TABLE.rows[:1]), benchmarks)[0]
    run = Run(NEXT_7B, tmp_path, python=harness()[0])
    measure(cell, run)
    cell.file(run).unlink()
    again = Run(NEXT_7B, tmp_path, python=harness("none")[0])
    assert again.conditions == run.conditions
    with pytest.raises(TodreError, match="did not finish"):
        measure(cell, again)
    assert not cell.file(run).exists()
    assert Run(NEXT_7B, tmp_path, ranks=4, python=run.python).conditions != run.conditions


@pytest.mark.parametrize("missing", ["POPE", "GQA"])
def test_a_row_that_was_measured_in_part_has_no_average(missing):
    whole = {"POPE": 80.0, "GQA": 50.0}
    part = {name: value / 2 for name, value in whole.items() if name != missing}
    assert average(part, whole, ("POPE", "GQA", "MME")) is None
    assert average({name: value / 2 for name, value in whole.items()}, whole, ("POPE", "GQA", "MME")) == 50.0


def test_the_plan_says_what_is_run_and_how_long_it_takes(tmp_path):
    found = table("v1-table1")
    about = rows_about(found, NEXT_7B)
    benchmarks = chosen(("POPE", "MMBench"), {})
    made = subjects(about.rows[:2], "count")
    run = Run(NEXT_7B, tmp_path)
    planned = plan(cells(made, benchmarks), benchmarks, run)
    assert planned.questions == 2 * (8910 + 4377)
    assert planned.seconds == pytest.approx(planned.questions * PACE)
    text = "\n".join(lines(planned, about, made, benchmarks, run))
    assert "methods: none, fastv@720" in text
    assert "POPE: pope_adv, pope_pop, pope_random (pope_f1_score), 8,910 questions" in text
    assert "about 4.9 h for 26,574 answers at 0.67 s a question (what the paper reports" in text
    slow = plan(cells(made, benchmarks), benchmarks, Run(NEXT_7B, tmp_path, limit=100), pace=60.0)
    assert slow.questions == 2 * (3 * 100 + 100)
    assert slow.seconds == 60.0 * slow.questions
    mine = chosen(("POPE",), {"POPE": "mine"})
    assert plan(cells(made, mine), mine, run).seconds is None
    assert [duration(seconds) for seconds in (40, 700, 12_600, 400_000)] == ["40 s", "12 min", "3.5 h", "4.6 days"]


def test_rows_are_those_about_the_model():
    found = table("v1-table1")
    assert rows_about(found, "llava-hf/llava-v1.6-vicuna-13b-hf").rows == found.rows[11:]

    def config(layers, width, model_type="llava_next"):
        text = SimpleNamespace(num_hidden_layers=layers, hidden_size=width)
        return SimpleNamespace(model_type=model_type, get_text_config=lambda: text)

    assert rows_about(found, "mine", config(40, 5120)) == rows_about(found, "llava-hf/llava-v1.6-vicuna-13b-hf")
    other = rows_about(found, "mine", config(2, 5120))
    assert other.rows == found.rows[11:]
    assert "mine is llava_next with 2 decoder layers of width 5120, and v1-table1 is about" in other.warnings[0]
    (warning,) = rows_about(found, "mine", config(28, 3584, "qwen2_5_vl")).warnings
    assert "mine is qwen2_5_vl with 28 decoder layers of width 3584" in warning


def test_without_lmms_eval_one_sentence_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"run `pip install lmms-eval`, .* --on tiny\.$"):
        require_lmms_eval("/bin/false")
    with pytest.raises(MissingDependencyError, match="cannot be run"):
        require_lmms_eval(str(tmp_path / "nothing"))
