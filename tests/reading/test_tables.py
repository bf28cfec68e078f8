"""Cells hold the document's numbers, whatever the format; the best is the best."""

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.reading.formats import (
    interval_text,
    latex_text,
    markdown_text,
    number,
    to_csv,
    to_latex,
    to_markdown,
)
from todre.reading.results import MEASURES, Interval, read
from todre.reading.tables import table

LATEX = {
    r"\textbackslash{}": "\\", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}",
    r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<", r"\textgreater{}": ">",
    r"\textbar{}": "|",
}  # fmt: skip


def cells(text):
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]


@pytest.mark.parametrize("measure", MEASURES)
def test_budgets_are_columns_and_the_best_is_bold(results, document, measure):
    header, _, *rows = cells(to_markdown(table(results, measure), intervals=False))
    assert header == ["method", "visual tokens per layer", "50 %", "10 %", "5 %", "own budget"]
    shown = {row[0]: row[2:] for row in rows}
    for name, tokens in ((row[0], row[1]) for row in rows):
        means = {row["retain"]: f"{row['layer_mean']:.0f}" for row in document["rows"] if row["name"] == name}
        every = [means.get(retain, "–") for retain in (0.5, 0.1, 0.05, None)]
        assert tokens == (every[3] if name == "none" else " / ".join(every))
    assert set(shown) == {"todre", "todre-v1", "random", "fastv", "vtw"} | ({"none"} if measure == "score" else set())
    known = {(row["name"], row["retain"]): row for row in document["rows"][1:]}
    values = {key: (row["against_none"] | {"score": row["score"]})[measure]["value"] for key, row in known.items()}
    for (name, retain), value in values.items():
        best = value == max(other for (_, budget), other in values.items() if budget == retain)
        text = format(100 * value, "+.1f" if measure == "difference" else ".1f")
        place = {0.5: 0, 0.1: 1, 0.05: 2, None: 3}[retain]
        assert shown[name][place] == (f"**{text}**" if best else text)
    tenth = [float(row[3].strip("*")) for row in rows if row[0] != "none" and row[3]]
    assert tenth == sorted(tenth, reverse=True)


@pytest.mark.parametrize("columns", ["budgets", "tasks"])
def test_the_best_is_the_best_of_those_within_the_budget(of_two_costs, columns):
    found = table(of_two_costs, columns=columns)
    lines = dict(found.rows)
    for place in range(len(found.columns)):
        column = {name: cells[place] for name, cells in lines.items() if cells[place].interval.value is not None}
        over = {name for name, cell in column.items() if cell.over}
        assert over == {"fastv"} & set(column) | ({"vtw (own budget)"} & set(column))
        fair = {name: cell.interval.value for name, cell in column.items() if name not in over}
        best = {name for name, cell in column.items() if cell.best}
        assert best == {name for name, value in fair.items() if value == max(fair.values())}
    pair = table(of_two_costs.only(["fastv", "todre"]))
    assert not any(cell.best for _, cells in pair.rows for cell in cells), "one within, with nothing to compare it with"
    (alone,) = table(of_two_costs.only(["fastv"])).rows
    assert all(cell.best for cell in alone[1]), "where none is within its budget, the highest of all"


def test_tasks_are_columns_at_one_budget(results, document):
    found = table(results, "difference", "tasks", 0.05, sort="scenes-caption")
    assert found.columns == ("all", *document["tasks"])
    rows = {row["name"]: row for row in document["rows"] if row["retain"] == 0.05}
    for name, line in found.rows:
        if name in rows:
            given = rows[name]["against_none"]["tasks"]["scenes-caption"]["difference"]
            assert line[found.columns.index("scenes-caption")].interval == Interval(**given)
    assert "vtw (own budget)" in dict(found.rows)
    last = [line[-2].interval.value for _, line in found.rows]
    assert found.columns[-2] == "scenes-caption"
    assert last == sorted(last, reverse=True)


@pytest.mark.parametrize(("sort", "first"), [("name", "fastv"), ("given", "todre"), ("0.05", None), ("own", "vtw")])
def test_rows_are_sorted_by_what_is_asked(results, sort, first):
    found = table(results, sort=sort)
    if first is None:
        values = [line[2].interval.value for _, line in found.rows if line[2].entry]
        assert values == sorted(values, reverse=True)
    else:
        assert found.rows[0][0] == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"measure": "accuracy"}, "measure must be one of retention, score, difference"),
        ({"columns": "methods"}, "columns must be one of budgets, tasks"),
        ({"sort": "0.3"}, "no column '0.3' to sort by"),
        ({"sort": "todre"}, "no column 'todre' to sort by"),
        ({"sort": "inf"}, "no column 'inf' to sort by"),
        ({"sort": "nan"}, "no column 'nan' to sort by"),
        ({"columns": "tasks", "retain": 0.3}, "Nothing was run at the budget 0.3"),
    ],
)
def test_wrong_requests_are_refused(results, arguments, words):
    with pytest.raises(InvalidValueError, match=words):
        table(results, **arguments)
    with pytest.raises(InvalidValueError, match="There is no method"):
        table(results.only(["none"]))


@pytest.mark.parametrize("columns", ["budgets", "tasks"])
def test_csv_has_every_digit_and_nothing_twice(results, document, columns):
    lines = list(csv.DictReader(io.StringIO(to_csv(table(results, "score", columns)))))
    rows = {(row["name"], "" if row["retain"] is None else str(row["retain"])): row for row in document["rows"]}
    for line in lines:
        row = rows[line["method"], line["budget"]]
        score = row["score"] if line["task"] == "all" else row["tasks"][line["task"]]
        assert [float(line[key]) for key in ("value", "low", "high")] == [
            score[key] for key in ("value", "low", "high")
        ]
        assert float(line["visual_tokens_mean_over_layers"]) == row["layer_mean"]
        if "against_none" in row and line["task"] == "all":
            found = row["against_none"]["difference"]
            assert line["differs"] == str(not found["low"] <= 0 <= found["high"]).lower()
    assert len({(line["method"], line["budget"], line["task"]) for line in lines}) == len(lines)
    assert len(lines) == (len(rows) if columns == "budgets" else 6 * (1 + len(document["tasks"])))


def test_latex_has_a_cell_for_each_column_and_the_numbers_of_markdown(results):
    found = table(results, "difference")
    lines = to_latex(found).splitlines()
    assert lines[1] == r"\begin{tabular}{lrrrrr}"
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    plain = to_markdown(found).splitlines()[2:]
    for line, same in zip(body, plain, strict=True):
        assert len(re.split(r"(?<!\\)&", line)) == 6
        assert line.count("{") == line.count("}")
        numbers = r"[+-]?\d+\.\d"
        assert re.findall(numbers, line.replace("$-$", "-")) == re.findall(numbers, same)
    assert "scriptsize" not in to_latex(found, intervals=False)
    assert r"50 \%" in lines[3]


@settings(max_examples=40)
@given(st.text(alphabet=st.sampled_from("ab\\&%$#_{}~^<>|")))
def test_names_for_latex_can_be_read_back(name):
    written = latex_text(name)
    pattern = "|".join(re.escape(key) for key in sorted(LATEX, key=len, reverse=True))
    assert re.sub(pattern, lambda found: LATEX[found[0]], written) == name
    rest = re.sub(pattern, "", written)
    assert not set(rest) & set("\\&%$#_{}~^<>|")


def test_numbers_read_well():
    assert number(None) == "–"
    assert number(-0.0001) == "0.0"
    assert number(-0.0001, signed=True) == "-0.0"
    assert number(0.0123, signed=True) == "+1.2"
    assert interval_text(Interval(0.5)) == "50.0"
    assert interval_text(Interval(None, 0.1, 0.2)) == "–"
    assert markdown_text("a|b_c*") == r"a\|b\_c\*"


def test_differences_from_another_method_where_the_run_has_them(results, document, written):
    with pytest.raises(InvalidValueError, match="compared nothing with 'todre'; name it with --against"):
        results.against("todre")
    given = {"value": 0.03, "low": 0.01, "high": 0.05}
    beside = {"difference": given, "tasks": {task: given | {"low": -0.01} for task in document["tasks"]}}
    rows = [row | ({"against": {"todre": beside}} if row["name"] == "todre-v1" else {}) for row in document["rows"]]
    path = written(document | {"rows": rows})
    found = read([path]).against("todre")
    assert found.names == ("todre-v1",)
    *_, row = cells(to_markdown(table(found, "difference")))
    assert set(row[2:]) == {"**+3.0 [+1.0, +5.0]**"}
    assert all(entry.differs() and not entry.differs(results.tasks[0]) for entry in found.entries)
    with pytest.raises(InvalidValueError, match="compared nothing with 'vtw'; it did with todre"):
        read([path]).against("vtw")
