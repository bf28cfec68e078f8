"""The figures of results show the document's numbers."""

import dataclasses
import json
import re
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from played import ASKED, playing

from todre.errors import InvalidValueError
from todre.evaluate.engine import run
from todre.evaluate.grid import grid
from todre.plots.across_budgets import radar_figure, retention_figure, short_tasks
from todre.plots.heat_map import heatmap_figure
from todre.plots.label_places import PALE
from todre.plots.lines import panels
from todre.plots.marks import save_figure
from todre.plots.pareto import pareto_figure
from todre.reading.choice import highlighted
from todre.reading.costs import bench_cost, front, token_cost
from todre.reading.results import ALL, read, share_of

BENCH = Path(__file__).parents[2] / "results/bench-cpu.json"
NAMES = ("todre", "todre-v1", "random", "fastv", "divprune", "cls-top-k", "dart", "holov", "evit", "hiprune")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "run"
    run(ASKED, grid([*NAMES, "vtw"], [0.5, 0.1, 20]), folder, start=playing)
    return read([folder])


def coloured(panel):
    return {line.get_label(): line for line in panel.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize("measure", ["retention", "score", "difference"])
def test_curves_are_the_numbers_and_bands_the_intervals(results, measure):
    (panel,) = retention_figure(results, ["todre", "random"], measure).axes
    shown = coloured(panel)
    assert set(shown) == {"todre", "random"}
    for (name, line), band in zip(shown.items(), panel.collections, strict=True):
        entries = results.of(name)
        assert line.get_xdata() == pytest.approx([20, 10, 50] if entries[0].retain == 0.1 else [10, 20, 50])
        by_share = {10: 0.1, 20: 20, 50: 0.5}
        for x, y in line.get_xydata():
            (entry,) = (each for each in entries if each.retain == by_share[round(x)])
            given = entry.value(measure)
            assert y == pytest.approx(100 * given.value)
            edges = [vertex[1] for vertex in band.get_paths()[0].vertices if vertex[0] == pytest.approx(x)]
            assert (min(edges), max(edges)) == pytest.approx((100 * given.low, 100 * given.high))
    grey = [line for line in panel.lines if line.get_color() == PALE]
    assert len(grey) == len(NAMES) - 2
    assert panel.get_xlim()[0] > panel.get_xlim()[1]


def test_every_method_has_a_colour_of_its_own_and_none_is_yellow(results):
    (panel,) = retention_figure(results).axes
    chosen = coloured(panel)
    assert set(chosen) >= {"todre", "todre-v1", "random"}
    colours = [matplotlib.colors.to_hex(line.get_color()) for line in chosen.values()]
    assert len(set(colours)) == len(colours)
    assert "#f0e442" not in colours


def test_few_methods_are_all_in_colour_and_the_best_of_many(results):
    few = results.only(["fastv", "vtw"])
    assert highlighted(few) == ("fastv", "vtw")
    chosen = highlighted(results, most=4)
    assert chosen[:3] == ("todre", "todre-v1", "random")
    at = {entry.name: entry.value("retention").value for entry in results.at(results.budget())}
    others = {name: value for name, value in at.items() if name not in chosen[:3]}
    assert chosen[3] == max(others, key=others.get)
    assert highlighted(results, ("vtw", "todre", "vtw")) == ("vtw", "todre")
    with pytest.raises(InvalidValueError, match="no 'no-such'"):
        highlighted(results, ("no-such",))


def test_radar_has_a_polygon_for_each_method(results):
    figure = radar_figure(results, ["todre", "vtw"], 0.5)
    (panel,) = figure.axes
    shown = {label.rsplit("  ", 1)[0]: line for label, line in coloured(panel).items()}
    assert set(shown) == {"todre", "vtw", "no pruning"}
    found = {entry.name: entry for entry in (*results.at(0.5), *results.at(None))}
    for name in ("todre", "vtw"):
        values = [100 * found[name].value("retention", task).value for task in results.tasks]
        assert shown[name].get_ydata() == pytest.approx([*values, values[0]])
    assert [text.get_text() for text in panel.get_xticklabels()] == ["colour", "presence", "caption", "mme"]
    assert len(coloured(radar_figure(results).axes[0])) == 6
    with pytest.raises(InvalidValueError, match="needs three tasks with a retention, and there are 2"):
        radar_figure(dataclasses.replace(results, tasks=results.tasks[:2]))


def methods_of(panel):
    """{line: (name, tokens per layer)} as a heat map's labels have them."""
    labels = zip(panel.get_yticks(), (text.get_text() for text in panel.get_yticklabels()), strict=True)
    return {round(line, 3): (label.split()[0].rstrip("°"), int(label.split()[1])) for line, label in labels}


@pytest.mark.parametrize("measure", ["retention", "difference"])
def test_heat_map_has_a_star_where_the_interval_excludes_zero(results, measure):
    (panel,) = heatmap_figure(results, ["todre"], 20, measure).axes
    methods = methods_of(panel)
    names = [name for name, _ in methods.values()]
    entries = {entry.name: entry for entry in (*results.at(20), *results.at(None))}
    assert set(names) == set(entries)
    assert {name: round(entries[name].layer_mean) for name in names} == dict(methods.values())
    tasks = (ALL, *results.tasks)
    cells = [text for text in panel.texts if re.match(r"[+-]?\d", text.get_text())]
    assert len(cells) == len(names) * len(tasks)
    for text in cells:
        entry = entries[methods[round(text.get_position()[1], 3)][0]]
        task = tasks[int(text.get_position()[0])]
        given = entry.value("difference", task)
        assert text.get_text().endswith("*") == (not given.low <= 0 <= given.high)
        form = ".0f" if measure == "retention" else "+.1f"
        assert text.get_text().rstrip("*") == format(100 * entry.value(measure, task).value, form)
    means = [entries[name].value(measure).value for name in names]
    assert means == sorted(means, reverse=True)


def of_two_costs(results, retain):
    """The results, where half of the methods carry over 5 % more than their budget."""
    shares = {name: 1.06 if number % 2 else 1.04 for number, name in enumerate(results.names)}
    entries = [
        dataclasses.replace(entry, layer_mean=shares[entry.name] * share_of(retain, entry.before) * entry.before)
        for entry in results.entries
    ]
    return dataclasses.replace(results, entries=tuple(entries)), {name for name in shares if shares[name] > 1.05}


def test_heat_map_has_methods_over_the_budget_below_the_others(results):
    changed, over = of_two_costs(results, 0.1)
    (panel,) = heatmap_figure(changed, retain=0.1).axes
    names = [name for name, _ in methods_of(panel).values()]
    inside = [name for name in names if name not in over]
    assert names[: len(inside)] == inside
    values = {entry.name: entry.value("retention").value for entry in (*changed.at(0.1), *changed.at(None))}
    for group in (inside, names[len(inside) :]):
        assert [values[name] for name in group] == sorted((values[name] for name in group), reverse=True)
    budget = round(0.1 * changed.none[0].visual_tokens)
    words = f"visual tokens per layer than the budget of {budget}"
    headings = [(text.get_text(), text.get_position()[1]) for text in panel.texts if "budget" in text.get_text()]
    (first, above), (second, between) = [found for found in headings if found[0].endswith(words)]
    assert (first, second) == (f"no more {words}", f"over 5 % more {words}")
    lines = list(methods_of(panel))
    assert above < lines[0]
    assert lines[len(inside) - 1] < between < lines[len(inside)]


def test_methods_over_the_budget_are_dashed_and_in_colour_only_after_the_others(results):
    changed, over = of_two_costs(results.only(NAMES), 0.1)
    changed = dataclasses.replace(changed, entries=tuple(entry for entry in changed.entries if entry.retain == 0.1))
    chosen = highlighted(changed, most=6)
    assert not over & set(chosen) - {"todre", "todre-v1", "random"}
    (panel,) = retention_figure(changed, ["todre", *sorted(over)]).axes
    styles = {name: line.get_linestyle() for name, line in coloured(panel).items()}
    assert {name for name, look in styles.items() if look == "--"} == over
    assert styles["todre"] == "-"
    assert "dashed: more tokens per layer than the budget" in panel.get_title(loc="left")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_front_is_what_nothing_beats(points):
    def beaten(place):
        cost, gain = points[place]
        return any(
            (other_cost, other_gain) != (cost, gain) and other_cost <= cost and other_gain >= gain
            for other_cost, other_gain in points
        )

    found = front(points)
    assert {points[place] for place in found} == {points[place] for place in range(len(points)) if not beaten(place)}
    assert len({points[place] for place in found}) == len(found)
    assert [points[place][0] for place in found] == sorted(points[place][0] for place in found)


def test_pareto_says_what_its_axis_is_and_rings_the_front(results):
    cost = token_cost(results)
    (panel,) = pareto_figure(results, cost, ["todre", "vtw"]).axes
    assert panel.get_xlabel().startswith("visual tokens per decoder layer, % of no pruning")
    drawn = np.concatenate([line.get_xydata() for line in panel.lines if line.get_markersize() in (3, 5)])
    wanted = [(100 * entry.share, 100 * entry.value("retention").value) for entry in results.entries]
    assert sorted(map(tuple, drawn.round(6))) == sorted(map(tuple, np.array(wanted).round(6)))
    (rings,) = (line for line in panel.lines if line.get_markersize() == 9 and line.get_marker() == "o")
    assert sorted(map(tuple, rings.get_xydata())) == sorted(
        {wanted[place] for place in front([*wanted, (100.0, 100.0)]) if place < len(wanted)}
    )


def test_costs_of_bench_are_of_the_very_same_settings(results):
    document = json.loads(BENCH.read_text())
    with pytest.raises(InvalidValueError, match="no method of the results has those settings"):
        bench_cost(results, document, "total")
    with pytest.raises(InvalidValueError, match="across must be one of tokens, first-token"):
        bench_cost(results, document, "price")
    (entry,) = (entry for entry in results.entries if entry.label == "todre@0.1")
    none = document["rows"][0]
    row = next(row for row in document["rows"] if row["subject"] == "todre:stages=1@0.1" and row["kind"] == "method")
    row["method"] = entry.fields | {"seed": 7}
    assert bench_cost(results, document, "first-token").of == {entry.label: row["ratio_to_none"]["first_token"]["p50"]}
    assert bench_cost(results, document, "flops").of[entry.label] == row["flops"]["total"] / none["flops"]["total"]
    kv = bench_cost(results, document, "kv")
    assert kv.of[entry.label] == row["kv_bytes"]["measured"] / none["kv_bytes"]["measured"]
    assert document["conditions"]["machine"]["cpu"] in kv.axis
    assert list(coloured(pareto_figure(results, kv).axes[0])) == ["todre"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_figure_is_the_same_bytes_and_says_where_it_is_from(tmp_path, suffix):
    for name in ("a", "b"):
        figure, (panel,) = panels(1, "a title")
        panel.plot([1, 2])
        save_figure(figure, tmp_path / f"{name}{suffix}", "where it is from")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".png":
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.info["Comment"] == "where it is from"


def test_names_of_tasks_lose_what_they_share():
    assert short_tasks(["scenes-colour", "scenes-word"]) == ["colour", "word"]
    assert short_tasks(["scenes-colour", "pope"]) == ["scenes-colour", "pope"]
    assert short_tasks(["scenes-colour"]) == ["scenes-colour"]
    assert short_tasks([]) == []
