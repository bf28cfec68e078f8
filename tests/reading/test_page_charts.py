"""Plots: each is a document that Vega-Lite draws, with the result's numbers and intervals under the pointer."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import vl_convert
from played import ASKED, playing
from webpages import fields, records

from todre.bench.document import read as read_bench
from todre.bench.load.document import read as read_load
from todre.evaluate.engine import run
from todre.evaluate.grid import grid
from todre.onepage.bench_charts import MOST_CELLS, bench_charts, load_charts
from todre.onepage.eval_charts import charts_of
from todre.onepage.reproduce_charts import reproduce_charts
from todre.published import AVERAGE, table
from todre.reading.results import read
from todre.reproduce.document import Description
from todre.reproduce.document import document as reproduced

RESULTS = Path(__file__).parents[2] / "results"


def drawn(chart):
    """The plot as SVG; drawing fails where the document is wrong."""
    return ElementTree.fromstring(vl_convert.vegalite_to_svg(chart.spec, allowed_base_urls=[]))


def check(chart):
    assert fields(chart.spec) >= {"value", "low", "high"}, chart.title
    assert chart.spec["description"].startswith(chart.title)
    text = json.dumps(chart.spec)
    assert "url" not in text
    assert len(list(drawn(chart).iter("{http://www.w3.org/2000/svg}path"))) > 3


@pytest.mark.parametrize("name", ["leaderboard", "patches", "smol-unpruned", "multi-which"])
def test_results_are_drawn(name):
    found = list(charts_of(read([RESULTS / f"{name}.json"])))
    assert found
    for chart in found:
        check(chart)


def test_every_method_of_the_leaderboard_stands_in_the_plots_with_its_numbers():
    document = json.loads((RESULTS / "leaderboard.json").read_text())
    curves, costs, tasks = charts_of(read([RESULTS / "leaderboard.json"]))
    expected = {
        (row["name"], row["retain"]): [
            None if (one := row["against_none"]["retention"][edge]) is None else pytest.approx(100 * one, abs=1e-3)
            for edge in ("value", "low", "high")
        ]
        for row in document["rows"][1:]
    }
    found = {
        (each["name"], None if each["share"] is None else each["share"] / 100): [
            each[edge] for edge in ("value", "low", "high")
        ]
        for each in records(costs.spec)
    }
    assert found == expected
    assert len(records(curves.spec)) == sum(retain is not None for _, retain in expected)
    cells = {(each["name"], each["task"]): each["value"] for each in records(tasks.spec)}
    row = next(row for row in document["rows"] if (row["name"], row["retain"]) == ("todre", 0.1))
    for task, measured in row["against_none"]["tasks"].items():
        assert cells["todre", task] == pytest.approx(100 * measured["retention"]["value"], abs=1e-3)
    assert cells["todre", "mean"] == pytest.approx(100 * row["against_none"]["retention"]["value"], abs=1e-3)


def test_names_are_drawn_as_text(tmp_path):
    name = "a<script>alert(1)</script>&\"'"
    run(ASKED, grid(["todre", "random"], [0.5, 0.1], draws=1), tmp_path / "run", start=playing)
    file = tmp_path / "run" / "result.json"
    document = json.loads(file.read_text())
    for row in document["rows"]:
        row["name"] = name if row["name"] == "todre" else row["name"]
    file.write_text(json.dumps(document))
    for chart in charts_of(read([file])):
        svg = drawn(chart)
        assert not list(svg.iter("{http://www.w3.org/2000/svg}script"))
        assert any(name[:8] in "".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text"))


def test_times_are_drawn():
    document = read_bench(RESULTS / "bench-cpu.json", whole=True)
    times, shares = bench_charts(document)
    for chart in (times, shares):
        check(chart)
    for chart, key, scale in ((times, "ms", 1e-3), (shares, "ratio_to_none", 100)):
        found = {
            (each["row"], each["name"]): (each["low"], each["value"], each["high"]) for each in records(chart.spec)
        }
        expected = {
            (row["subject"], name): tuple(
                pytest.approx(row[key][stage][edge] * scale) for edge in ("p20", "p50", "p80")
            )
            for row in document["rows"]
            for stage, name in (("first_token", "first token"), ("total", "whole answer"))
        }
        assert found == expected


def test_cells_that_are_not_drawn_are_counted():
    document = read_bench(RESULTS / "bench-cpu.json", whole=True)
    assert not any("more" in chart.caption for chart in bench_charts(document))
    several = document | {"finished": document["finished"] * (MOST_CELLS + 2)}
    charts = list(bench_charts(several))
    assert len(charts) == 2 * MOST_CELLS
    assert all(chart.caption.endswith("The tables have 2 more cells.") for chart in charts)


def test_loads_are_drawn():
    document = read_load(RESULTS / "serve-vllm-cpu.json")
    (chart,) = load_charts(document)
    check(chart)
    assert len(records(chart.spec)) == len(document["rows"])


@pytest.mark.parametrize("name", ["v1-table1", "v1-table3", "v2-supplement2"])
def test_a_papers_table_is_drawn_beside_ours(name):
    found = table(name)
    values = [dict.fromkeys(found.columns, 50.0 + place) for place, _ in enumerate(found.rows)]
    description = Description("mine", "A statement.", False, {}, (), {}, "todre")
    document = reproduced(found, found.rows, values, [""] * len(values), description)
    if AVERAGE in document["columns"]:
        document["rows"][1]["shares"][AVERAGE]["interval"] = {"low": 40.0, "high": 60.0}
    charts = list(reproduce_charts(document))
    assert charts
    left = 0 if AVERAGE in document["columns"] else len(document["columns"]) - len(charts)
    for chart in charts:
        check(chart)
        assert (f"The table has {left} more column" in chart.caption) == (left > 0)
    if AVERAGE in document["columns"]:
        (chart,) = charts
        mine = [each for each in records(chart.spec) if each["name"] == "here"]
        assert len(mine) == len(document["rows"])
        assert (mine[1]["low"], mine[1]["high"]) == (40.0, 60.0)
