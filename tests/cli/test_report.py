"""`todre report` from end to end: the same numbers as the other commands, one file, no network, text as text."""

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from files.hostile import five_hundred
from played import ASKED, playing
from webpages import Webpage, fetched, fields, records

from todre.cli.report import page_of
from todre.errors import TodreError
from todre.evaluate.engine import run as evaluate
from todre.evaluate.grid import grid
from todre.onepage.render import html
from todre.onepage.runs import find
from todre.published import table as published
from todre.reproduce.document import Description, document
from todre.reproduce.pages import write

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "results" / "leaderboard.json"
EVIL = "</script><script>alert(1)</script><img src=http://x.test onerror=alert(2)> \"'&{{7*7}}"
LIMIT = 5 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    evaluate(ASKED, grid(["todre", "random", "downsample", "vtw"], [0.5, 0.1], draws=2), folder, start=playing)
    return folder


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """The folder of a table of `todre reproduce` with numbers that were made up."""
    found = published("v1-table1")
    values = [dict.fromkeys(found.benchmarks, 40.0 + place) for place, _ in enumerate(found.rows)]
    values[1] = None
    description = Description("mine", "A statement.", False, {"MME": "scenes"}, ["Careful."], {"seed": 0}, "todre x")
    folder = tmp_path_factory.mktemp("reproduced")
    write(document(found, found.rows, values, ["", "it refused."] + [""] * (len(values) - 2), description), folder)
    return folder


@pytest.fixture
def no_bundle(monkeypatch):
    """A moment instead of seconds: pages without Vega's own script."""
    monkeypatch.setattr("todre.onepage.render.bundle", lambda: "/* Vega */")


@pytest.fixture
def page(run, tmp_path, no_bundle):
    """page(what, *options) → the page of a run, parsed."""

    def make(what, *options):
        output = tmp_path / "page.html"
        assert run("report", what, "--output", output, "--force", *options) == (0, "", f"wrote {output}\n")
        return Webpage(output.read_text(encoding="utf-8"))

    return make


def cells(markdown):
    """Rows of a pipe table, without its marks of bold; the line of dashes is left out."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line)]
    return [[text.replace("\\", "").strip() for text in line.strip("|").split(" | ")] for line in lines]


def plain(rows):
    return [[text.strip("*").strip() for text in row] for row in rows]


def captions(found, words):
    return [caption for caption in found.tables if all(word in caption for word in words)]


@pytest.mark.parametrize("measure", ["retention", "score", "difference"])
@pytest.mark.parametrize("by", ["budgets", "0.5", "0.1"])
def test_tables_are_those_of_todre_table(run, page, folder, measure, by):
    found = page(folder)
    by_budget = by == "budgets"
    options = ("--columns", "budgets") if by_budget else ("--columns", "tasks", "--retain", by)
    shown = run("table", folder, "--measure", measure, *options)
    assert shown.code == 0, shown
    expected = cells(shown.out)
    word = {"retention": "Retention", "score": "Score, %", "difference": "Score minus"}[measure]
    where = "by budget" if by_budget else f"by task, {100 * float(by):g} % kept"
    (caption,) = captions(found, (word, where))
    assert found.tables[caption] == plain(expected)
    assert found.bold[caption] == [t.strip("*") for row in expected for t in row if t.startswith("**")]
    sorted_by = [[None if value is None else value for value in row[2:]] for row in found.values[caption][1:]]
    shown = [row[2:] for row in found.tables[caption][1:]]
    for texts, values in zip(shown, sorted_by, strict=True):
        for text, value in zip(texts, values, strict=True):
            assert (value is None) == (text in ("", "–"))
            assert value is None or float(text.partition(" [")[0]) == pytest.approx(100 * float(value), abs=0.051)


def test_the_hard_split_is_that_of_todre_table(run, page, folder):
    found = page(folder)
    expected = cells(run("table", folder, "--hard").out)
    made = [row for caption in captions(found, ("Hard and simple",)) for row in found.tables[caption]]
    assert len(made) > 4
    assert made == expected


def test_tables_of_costs_are_those_of_todre_bench(run, page):
    for name in ("bench-cpu", "bench-budgets", "serve-vllm-cpu", "serve-vllm-soak"):
        source = ROOT / "results" / f"{name}.json"
        found = page(source)
        printed = [line.split() for line in run("bench", "--from", source).out.splitlines()]
        rows = [row for rows in found.tables.values() for row in rows[1:]]
        assert len([row for row in rows if row[0] in ("none", "todre@0.1", "todre:stages=1@0.1")]) >= 2
        for caption, rows in found.tables.items():
            for row in rows[1:] if caption != "Everything that the run was done under" else ():
                assert " ".join(row).split() in printed, (name, row)
        shown = captions(found, ("rounds",)) or captions(found, ("client",))
        assert shown


def test_a_bound_stays_with_its_method_when_rows_are_sorted(page):
    found = page(ROOT / "results" / "bench-cpu.json")
    (caption,) = captions(found, ("rounds",))
    assert found.groups[caption] == [1, 2, 1]
    assert found.column(caption, 0)[1:3] == ["todre:stages=1@0.1", "  its oracle"]


def test_a_papers_table_is_that_of_todre_reproduce(page, reproduced):
    found = page(reproduced)
    expected = cells((reproduced / "table.md").read_text())
    result = json.loads((reproduced / "result.json").read_text())
    table = found.tables[result["title"]]
    assert [row[:1] + row[2:] for row in table[1:]] == [row[:1] + row[2:] for row in expected[1:]]
    assert [row[1] for row in table] == ["numbers of", *(row[1] for row in expected[1:])]
    assert table[0][2:] == expected[0][2:]
    assert set(found.groups[result["title"]]) == {2}
    for words in ("A statement.", "Careful.", "MME: scenes", "was not measured: it refused."):
        assert words in found.text


def test_conditions_are_on_the_page(page, folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "timings.json").write_text(json.dumps({"command": "todre eval --tasks x", "machine": "abc64"}))
    found = page(tmp_path)
    lines = dict(found.tables["Everything that the run was done under"])
    conditions = json.loads((folder / "result.json").read_text())["conditions"]
    assert lines["model"] == conditions["model"]
    assert lines["dtype"] == conditions["dtype"]
    assert lines["tasks"] == ", ".join(conditions["tasks"])
    for name, version in conditions["versions"].items():
        assert lines[f"versions · {name}"] == version
    assert (lines["command"], lines["machine"]) == ("todre eval --tasks x", "abc64")
    bench = json.loads((ROOT / "results" / "bench-cpu.json").read_text())
    lines = dict(page(ROOT / "results" / "bench-cpu.json").tables["Everything that the run was done under"])
    assert lines["command"] == bench["command"]
    assert lines["machine · cpu"] == bench["conditions"]["machine"]["cpu"]


def test_the_leaderboard_is_one_file_below_the_limit(run, tmp_path):
    """With Vega's own script, whole."""
    output = tmp_path / "board.html"
    assert run("report", BOARD, "--output", output).code == 0
    raw = output.read_bytes()
    assert len(raw) < LIMIT
    found = Webpage(raw.decode("utf-8"))
    assert len(found.specs) == 3
    assert all(fields(spec) >= {"value", "low", "high"} for spec in found.specs)
    assert len(found.programs) == 2
    assert len(found.programs[0]) > 500_000
    alone(found)
    again = tmp_path / "again.html"
    assert run("report", BOARD, "--output", again).code == 0
    assert again.read_bytes() == raw


def alone(found):
    """A page asks for nothing, and its rule lets its own scripts alone run."""
    assert fetched(found) == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert not [each for each in found.attributes if each[0] == "script" and each[1] == "src"]
    assert not [name for _, name, _ in found.attributes if name.startswith("on") or name == "style"]
    (policy,) = [value for tag, name, value in found.attributes if name == "content" and "default-src" in value]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found.programs]
    assert policy.startswith("default-src 'none'; script-src " + " ".join(f"'sha256-{each}'" for each in sums) + ";")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_a_page_asks_for_nothing(page, folder, reproduced):
    for what in (folder, reproduced, ROOT / "results" / "bench-cpu.json"):
        found = page(what)
        alone(found)
        assert len(found.programs) == 2
    style = (ROOT / "src/todre/onepage/page.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_text_is_text_wherever_it_stands(page, folder, tmp_path):
    """A name that would be a script: as model, method, task, reason, question, answer and condition."""
    result = json.loads((folder / "result.json").read_text())
    task = next(iter(result["tasks"]))
    items = (folder / "items.jsonl").read_text().splitlines()
    facts = [json.loads(line) for line in items]
    for each in facts:
        each["question"] = EVIL + each["question"]
        each["task"] = EVIL if each["task"] == task else each["task"]
        each["references"] = [EVIL]
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for each in samples:
        each["task"] = EVIL if each["task"] == task else each["task"]
        each["prediction"] += EVIL
        each["condition"] += EVIL
    text = (
        json.dumps(result)
        .replace(json.dumps(task), json.dumps(EVIL))
        .replace('"name": "todre"', f'"name": {json.dumps(EVIL)}')
    )
    result = json.loads(text)
    result["conditions"] |= {"model": EVIL, EVIL: {EVIL: EVIL}}
    result["conditions"]["questions"] = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    result["left_out"] = {EVIL: EVIL}
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(each) + "\n" for each in facts))
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in samples))
    found = page(tmp_path)
    alone(found)
    assert len(found.programs) == 2
    assert found.tags.count("img") == 0
    assert found.text.count(EVIL) > 40
    (caption,) = captions(found, ("Retention", "by budget"))
    assert EVIL in found.column(caption, 0)
    assert EVIL in found.tables[captions(found, ("Score, %", "by task", "10 %"))[0]][0]
    assert any(record["name"] == EVIL for spec in found.specs for record in records(spec))
    bench = json.loads((ROOT / "results" / "bench-cpu.json").read_text())
    bench["rows"][1]["subject"] = bench["conditions"]["model"]["name"] = bench["command"] = EVIL
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    found = page(tmp_path / "bench.json")
    alone(found)
    assert EVIL in found.column(captions(found, ("rounds",))[0], 0)


def test_questions_are_as_many_as_asked_for(page, folder):
    assert page(folder, "--samples", "3").tags.count("article") == 3
    none = page(folder, "--samples", "0")
    assert none.tags.count("article") == 0
    assert "left out with --samples 0" in none.text
    found = page(folder)
    assert found.tags.count("article") == 12
    assert found.tags.count("img") == 12
    assert "do not lie beside the result" in page(BOARD).text


def test_a_run_without_methods_has_a_page(page):
    found = page(ROOT / "results" / "smol-unpruned.json")
    (caption,) = captions(found, ("Score, %", "by task"))
    assert found.column(caption, 0) == ["none"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gone",), 1, "gone does not exist; give the folder of a run"),
        ((".",), 1, "does not exist; give the folder of a run"),
        (("broken.json",), 1, "broken.json"),
        (("list.json",), 1, "needs an object there"),
        (("foreign.json",), 1, "is no result of `todre eval`, `todre bench` or `todre reproduce`"),
        (("figure.json",), 1, "is a figure of `todre reproduce`, whose picture lies beside it"),
        (("halves.json",), 1, "has no rows"),
        (("strange.json",), 1, "strange.json has no conditions, and needs an object there"),
        (("papers.json",), 1, "papers.json has no recipe"),
        (
            ("FOLDER", "--output", "page.pdf"),
            2,
            "page.pdf has no suffix of a format that can be written; use .html, .htm",
        ),
        (("FOLDER", "--output", "no/page.html"), 1, "does not exist; create it first"),
        (("FOLDER", "--output", "there.html"), 1, "there.html is there already; replace it with --force"),
        (("FOLDER", "--output", "folder.html", "--force"), 1, "is a directory"),
        (("run.html", "--output", "run.html", "--force"), 1, "run.html is a file that this reads"),
        (("run.html", "--output", "link.html", "--force"), 1, "link.html is a file that this reads"),
        (("run.html", "--output", "run.html/page.html", "--force"), 1, "cannot be written"),
        (("BENCH", "--samples", "3"), 2, "a run of `todre bench` leaves nothing for --samples to do"),
        (("FOLDER", "--samples", "101"), 2, "less than or equal to 100"),
        (("FOLDER", "--samples", "-1"), 2, "greater than or equal to 0"),
    ],
)
def test_bad_input_is_one_sentence(run, folder, tmp_path, monkeypatch, no_bundle, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    result = json.loads((folder / "result.json").read_text())
    bench = {"format": "todre bench 1"}
    written = {
        "broken.json": "{", "list.json": "[1]", "foreign.json": '{"what": "a recipe for soup"}',
        "figure.json": '{"recipe": "v1-figure2", "instrument": "migration"}', "there.html": "mine",
        "halves.json": json.dumps(result | {"rows": []}), "strange.json": json.dumps(bench),
        "papers.json": json.dumps({"what": "a published table, and the same measured"}),
        "run.html": json.dumps(result),
    }  # fmt: skip
    for name, text in written.items():
        Path(name).write_text(text)
    os.link("run.html", "link.html")
    Path("folder.html").mkdir()
    places = {"FOLDER": str(folder), "BENCH": str(ROOT / "results" / "bench-cpu.json")}
    before = {path.name: path.read_text() for path in Path().iterdir() if path.is_file()}
    found = run("report", *(places.get(word, word) for word in arguments))
    assert (found.code, found.out) == (code, "")
    assert words in found.err
    assert found.err.count("\n") == 1
    assert {path.name: path.read_text() for path in Path().iterdir() if path.is_file()} == before


def test_a_page_may_lie_in_the_runs_folder_and_be_replaced(run, folder, tmp_path, no_bundle):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    output = tmp_path / "page.html"
    assert run("report", tmp_path, "--output", output, "-q") == (0, "", "")
    first = output.read_bytes()
    assert run("report", tmp_path, "--output", output).code == 1
    assert run("report", tmp_path, "--output", output, "--force", "-q") == (0, "", "")
    assert output.read_bytes() == first
    (tmp_path / "samples.html").hardlink_to(tmp_path / "samples.jsonl")
    found = run("report", tmp_path, "--output", tmp_path / "samples.html", "--force")
    assert (found.code, "is a file that this reads" in found.err) == (1, True)


def test_without_the_extra_one_sentence_names_it(run, folder, tmp_path, monkeypatch):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "altair" else real(name, *rest))
    found = run("report", folder, "--output", tmp_path / "page.html")
    assert found.code == 1
    assert found.err.count("\n") == 1
    assert "pip install 'todre[report]'" in found.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["eval", "bench", "load", "reproduce"])
def test_hostile_files_are_one_sentence_or_a_page(what, reproduced, tmp_path, no_bundle):
    """Every fourth of five hundred files, most of which are like a good one but for one value."""
    source = {
        "eval": BOARD, "bench": ROOT / "results" / "bench-cpu.json", "load": ROOT / "results" / "serve-vllm-cpu.json",
        "reproduce": reproduced / "result.json",
    }  # fmt: skip
    good = json.loads(source[what].read_text())
    good["rows"] = [row for row in good["rows"] if row.get("name", "none") in ("none", "todre")]
    sentences, made = [], 0
    for place, (path, _) in enumerate(five_hundred(tmp_path, [good])):
        if place % 4:
            continue
        try:
            found = Webpage(html(page_of(find(path), 3)[0]))
        except TodreError as error:
            sentences.append(str(error))
        else:
            assert fetched(found) == []
            made += 1
    assert len(sentences) > 50
    assert not [sentence for sentence in sentences if "\n" in sentence]
    assert made > 3
