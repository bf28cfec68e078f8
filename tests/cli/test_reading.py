"""`todre plot` and `todre table` from end to end, and what they say of wrong input."""

import csv
import io
import json

import pytest
from PIL import Image
from played import ASKED, playing

from todre.evaluate.engine import run as evaluate
from todre.evaluate.grid import grid


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading") / "run"
    evaluate(ASKED, grid(["todre", "random", "vtw"], [0.5, 0.1], draws=2), folder, start=playing)
    return folder


@pytest.fixture
def bench(folder, tmp_path):
    """A document of bench that has one of the methods."""
    fields = next(row["fields"] for row in json.loads((folder / "result.json").read_text())["rows"][1:])
    cell = {"batch": 1}
    row = {"asked": cell, "subject": "none", "kind": "none", "of": None, "flops": {"total": 8}}
    mine = {**row, "subject": "todre@0.5", "kind": "method", "method": fields, "flops": {"total": 2}}
    conditions = {"model": {"name": "m", "dtype": "float32"}, "machine": {"device": "cpu", "cpu": "A CPU"}}
    document = {"format": "todre bench 1", "conditions": conditions, "left_out": {}, "finished": [cell]}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document | {"command": "", "rows": [row, mine]}))
    return path


def test_the_hard_split_is_a_table_of_its_own(run, tmp_path):
    folder = tmp_path / "run"
    evaluate(ASKED, grid(["todre", "random", "downsample"], [0.5, 0.1], draws=2), folder, start=playing)
    code, out, err = run("table", folder, "--hard", "--retain", "0.1")
    assert (code, err) == (0, "")
    assert "With downsample at a budget of 10 % (10 visual tokens)" in out
    assert "never compare methods with it there" in out
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")]
    assert rows == ["method", "---", "todre", "random"]
    code, out, _ = run("table", folder, "--hard", "--format", "csv", "--methods", "todre")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [(line["budget"], line["group"], line["method"]) for line in lines] == [
        (budget, group, "todre") for budget in ("0.5", "0.1") for group in ("hard", "simple")
    ]
    code, _, err = run("table", folder, "--hard", "--sort", "name")
    assert (code, "--hard leaves nothing for --sort to do" in err) == (2, True)


def test_options_that_would_change_nothing_are_refused(run, folder):
    code, out, err = run("table", folder, "--retain", "0.3")
    assert (code, out) == (2, "")
    assert "--retain would change nothing, because columns are budgets; add --columns tasks" in " ".join(err.split())
    code, out, err = run("table", folder, "--against", "random", "--measure", "score")
    assert (code, out) == (2, "")
    assert "--against shows differences, and --measure says score" in " ".join(err.split())
    code, out, err = run("table", folder, "--against", "random", "--measure", "retention")
    assert (code, out) == (2, "")
    assert "--against shows differences, and --measure says retention" in " ".join(err.split())
    assert run("table", folder, "--retain", "0.1", "--columns", "tasks").code == 0


def test_the_hard_split_needs_the_control(run, folder):
    code, _, err = run("table", folder, "--hard")
    assert (code, "run `todre eval` with downsample among --methods" in err) == (1, True)


@pytest.mark.parametrize("kind", ["retention", "radar", "pareto", "heatmap"])
def test_each_figure_is_a_picture(run, folder, tmp_path, kind):
    output = tmp_path / "figure.png"
    code, out, err = run("plot", kind, folder, "--methods", "todre,random", "--highlight", "todre", "--output", output)
    assert (code, out, err) == (0, "", f"wrote {output}\n")
    with Image.open(output) as picture:
        assert picture.width > 300
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_costs_of_bench_stand_on_the_axis(run, folder, bench, tmp_path):
    output = tmp_path / "f.svg"
    code, _, err = run("plot", "pareto", folder, "--across", "flops", "--bench", bench, "--output", output)
    assert code == 0
    assert err == f"bench did not measure todre@0.1, random@0.5, random@0.1, vtw\nwrote {output}\n"
    assert "FLOPs of the whole answer" in output.read_text()


def test_tables_go_to_stdout_or_a_file(run, folder, tmp_path):
    code, out, err = run("table", folder, "--measure", "difference", "--sort", "name")
    assert (code, err) == (0, "")
    assert out.startswith("| method | visual tokens per layer | 50 % | 10 % | own budget |\n")
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["random", "todre", "vtw"]
    for name, first in (("t.md", "| method"), ("t.csv", "method,budget"), ("t.tex", "% needs")):
        code, out, err = run("table", folder / "result.json", "--output", tmp_path / name)
        assert (code, out, err) == (0, "", f"wrote {tmp_path / name}\n")
        assert (tmp_path / name).read_text().startswith(first)
    code, out, _ = run(
        "table", folder, "--columns", "tasks", "--retain", "0.5", "--format", "csv", "--methods", "todre"
    )
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["task"] for line in lines][:2] == ["all", "scenes-colour"]
    assert {line["budget"] for line in lines} == {"0.5"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("table", "gone"), 1, "gone does not exist; give the folder of a finished run"),
        (("table", "RUN", "--methods", "todr"), 1, "did you mean 'todre'?"),
        (("table", "RUN", "--measure", "speed"), 2, "'speed' is not one of retention, score, difference"),
        (("table", "RUN", "--columns", "rows"), 2, "'rows' is not one of budgets, tasks"),
        (("table", "RUN", "--format", "pdf"), 2, "'pdf' is not one of markdown, csv, latex"),
        (("table", "RUN", "--output", "t.doc"), 2, "t.doc has no suffix of a format; use .md, .csv, .tex"),
        (("table", "RUN", "--output", "no/t.md"), 1, "does not exist; create it first"),
        (("table", "RUN", "--output", "."), 1, "is a directory"),
        (("table", "RUN", "--sort", "speed"), 1, "no column 'speed'"),
        (("plot", "radar", "RUN", "--retain", "0.3"), 1, "Nothing was run at the budget 0.3; use one of 0.5, 0.1"),
        (("plot", "radar", "RUN", "--retain", "7x"), 2, "'7x' is not a number"),
        (("plot", "heatmap", "RUN", "--highlight", "none,al"), 1, "no 'al' among the results"),
        (("plot", "heatmap", "RUN", "--measure", "score"), 2, "'score' is not one of retention, difference"),
        (("plot", "retention", "RUN", "--methods", "vtw"), 1, "No method here has a budget"),
        (("plot", "retention", "RUN", "--output", "f.doc"), 2, "f.doc has no suffix of a format"),
        (("plot", "pareto", "RUN", "--across", "flops"), 2, "--across flops needs --bench"),
        (("plot", "pareto", "RUN", "--bench", "b.json"), 2, "--across tokens needs no --bench"),
        (("plot", "pareto", "RUN", "--across", "price"), 2, "'price' is not one of tokens, first-token"),
    ],
)
def test_bad_input_is_one_sentence(run, folder, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    result = run(*(str(folder) if argument == "RUN" else argument for argument in arguments))
    assert result.code == code
    assert words in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert not list(tmp_path.iterdir())
