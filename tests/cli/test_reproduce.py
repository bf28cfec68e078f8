"""`todre reproduce` from end to end on the shipped model, and what it says before it does anything."""

import json

import pytest

from todre.plots.reproduction import radars_figure
from todre.published import table
from todre.reproduce.document import Description, document

QUICK = ("--on", "tiny", "--limit", "1", "-q")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    monkeypatch.setattr("todre.reproduce.cells.revision_of", lambda model: None)


def test_recipes_are_listed(run):
    result = run("reproduce")
    assert result.code == 0
    for name in ("v1-table1", "v1-figure7", "v2-supplement3", "horizon-qwen"):
        assert name in result.out
    assert run("reproduce", "v1-table1", "--list").out == result.out
    known = json.loads(run("reproduce", "--list", "--json").out)
    assert {"name": "v1-figure3", "kind": "radar"}.items() <= known[7].items()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("v1-tabel1",), 2, "There is no recipe 'v1-tabel1'; did you mean 'v1-table1'?"),
        (("v1-table1", "--on", "tiny", "-m", "x"), 2, "--on tiny and -m x are two models; give one."),
        (("v1-table1", "--on", "huge"), 2, "'huge' is unknown; --on takes tiny, smol, smol-1"),
        (("v1-table1", "--output", "gone/run"), 1, "The directory gone does not exist"),
        (("v1-table1", "--benchmarks", "POPES"), 2, "v1-table1 has no benchmark 'POPES'"),
        (("v1-table1", "--task-map", "POPE"), 2, "'POPE' points no benchmark at a task; write POPE=my_pope"),
        (("v1-table1", "--task-map", "POPES=x"), 2, "The table has no benchmark 'POPES'"),
        (("v1-table1", "--budget", "half"), 2, "'half' is not one of count, share"),
        (("v1-table1", "-m", "no such/model"), 1, "is neither a folder nor a hub id"),
        (("v1-table1",), 1, "Nothing is begun without being asked for: add --yes"),
        (("v1-table1", "--yes", "--python", "/bin/false"), 1, "run `pip install lmms-eval`"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    result = run("reproduce", *arguments, "-q")
    assert result.code == code
    assert words in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v1-table5", "v1-table3", "v1-figure2"])
def test_a_small_model_is_measured_under_its_own_name(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TODRE_CACHE", str(tmp_path / "cache"))
    result = run("reproduce", name, "--on", "smol", "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{name} on smol: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_the_name_of_a_small_model_is_not_taken_for_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smol").mkdir()
    result = run("reproduce", "v1-table5", "--on", "smol", "--dry-run")
    assert result.code == 2
    assert "smol is also a folder or file here" in result.err


def test_a_small_model_that_takes_no_clips_answers_none(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("reproduce", "v1-table2", "--on", "smol", "--yes", "-q")
    assert result.code == 1
    assert "No scenes and no model that ships stand in for " in result.err
    assert list(tmp_path.iterdir()) == []


def test_settings_of_loading_reach_a_small_model(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choices = ("--benchmarks", "GQA", "--limit", "1", "--dtype", "bfloat16", "--output", "run", "--json")
    result = run("reproduce", "v1-table5", "--on", "tiny", *choices)
    assert result.code == 0, result.err
    (conditions,) = json.loads(result.out)["conditions"]["runs"]
    assert conditions["dtype"] == "bfloat16"


def test_dry_run_says_what_would_be_run_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("reproduce", "v1-table4", "--dry-run", "--seconds-per-question", "1", "--benchmarks", "MME,POPE")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "model: llava-hf/llava-v1.6-vicuna-7b-hf"
    assert lines[1].startswith("methods: none, todre-v1:stages=2, todre-v1:stages=1@720, todre-v1@720, ")
    assert "  MME: mme (mme_perception_score), 2,374 questions" in lines
    assert "24 cells (a method on a task), 24 of them not finished" in lines
    assert "about 19 h for 67,704 answers at 1 s a question (as --seconds-per-question says)" in result.out
    choices = ("--dry-run", "--budget", "share", "--limit", "5", "--task-map", "GQA=mine")
    (plan,) = [json.loads(run("reproduce", "v1-table4", *choices, "--json").out)["plan"]]
    assert "todre-v1@0.25" in plan[1]
    assert "  GQA: mine (its only metric), the first 5 questions of each task; measured on the task mine" in plan
    assert list(tmp_path.iterdir()) == []


def test_a_table_on_the_shipped_model_has_the_papers_rows_beside_ours(run, tmp_path):
    output = tmp_path / "run"
    arguments = ("v2-supplement2", *QUICK, "--benchmarks", "GQA", "--output", output)
    result = run("reproduce", *arguments)
    assert (result.code, result.err) == (0, "")
    assert "They cannot be compared as numbers" in result.out
    assert "τ = 0.10 (default)" in result.out
    assert "MME" not in result.out
    result = json.loads((output / "result.json").read_text())
    assert [row["label"] for row in result["rows"]] == [
        "no pruning", "τ = 0.03", "τ = 0.05", "τ = 0.10 (default)", "τ = 0.15",
    ]  # fmt: skip
    none = result["rows"][0]["cells"]["GQA"]
    assert none["published"] == 64.2
    assert none["measured"] in (0.0, 100.0)
    assert result["benchmarks"] == {"GQA": "scenes-relation, 1 questions"}
    assert result["warnings"][0].startswith("The measured average is over 1 of the 4 benchmarks")
    assert (output / "table.md").read_text().count("\n| ") == 1 + 2 * 5


def test_a_figure_is_drawn(run, tmp_path):
    result = run("reproduce", "v1-figure7", *QUICK, "--output", tmp_path / "run")
    assert (result.code, result.err) == (0, "")
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"result.json", "v1-figure7.png"}
    assert json.loads((tmp_path / "run" / "result.json").read_text())["recipe"] == "v1-figure7"


def test_the_radar_has_a_line_for_each_method_of_either_side():
    found = table("v1-table1")
    rows = [row for row in found.rows[:11] if row.retain in (None, 0.1)]
    ours = [dict.fromkeys(("MME", "POPE"), value) for value in (90.0, 80.0, 45.0, 80.0, 80.0, 81.0)]
    stand_ins = {"MME": "scenes-mme, 1", "POPE": "scenes-pope, 1"}
    description = Description("mine", "A statement.", False, stand_ins, (), {}, "todre")
    left, right = radars_figure(document(found, rows, ours, [""] * 6, description)).axes
    for panel in (left, right):
        names = [line.get_label() for line in panel.lines]
        assert names == [*(row.title for row in rows[1:]), "no pruning"]
        assert panel.get_ylim() == (45, 105)
    assert list(right.lines[1].get_ydata()) == [50.0, 50.0, 50.0]
    assert next(iter(left.lines[0].get_ydata())) == 84.42


def test_costs_are_measured_as_the_bench_does(run, tmp_path, monkeypatch):
    def measured(table, loaded, rounds, folder, command, tick, anew):
        assert not anew
        values = {"flops_T": 2.0, "memory_GB": 1.0, "samples_per_second": 4.0}
        return [values] * (len(table.rows) - 1) + [None], [""] * (len(table.rows) - 1) + ["it refused."], {}

    monkeypatch.setattr("todre.reproduce.costs.measured", measured)
    result = run("reproduce", "v1-table3", "--on", "tiny", "--output", tmp_path / "run", "-q")
    assert (result.code, result.err) == (0, "")
    assert "ToDRE, 10 % was not measured: it refused." in result.out
    assert "FastV, 10 %, flops_reduction: printed 78.0; 8.2 of 31.4 is 73.9 % less" in result.out


def test_force_measures_costs_anew(run, tmp_path, monkeypatch):
    there = []

    def measured(table, loaded, rounds, folder, command, tick, anew):
        there.append(anew)
        (folder / "bench.json").write_text("costs")
        return [{"flops_T": 2.0}] * len(table.rows), [""] * len(table.rows), {}

    monkeypatch.setattr("todre.reproduce.costs.measured", measured)
    arguments = ("reproduce", "v1-table3", "--on", "tiny", "--output", tmp_path / "run", "-q")
    assert run(*arguments).code == 0
    assert "--force" in run(*arguments).err
    assert run(*arguments, "--force").code == 0
    assert there == [False, True]
    assert run(*arguments, "--force", "--dry-run").code == 0
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"bench.json", "result.json", "table.md"}


def test_a_wide_table_keeps_every_digit_where_it_goes_to_no_terminal(capsys):
    from rich.table import Table

    from todre.cli.console import show

    table = Table(*(f"benchmark {number}" for number in range(20)))
    table.add_row(*(f"{number}680.4" for number in range(20)))
    show(table, whole=True)
    out = capsys.readouterr().out
    assert all(f"{number}680.4" in out and f"benchmark {number} " in out for number in range(20))
