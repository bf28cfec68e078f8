"""The published tables: averages follow from their scores, and every row is a method with the printed settings."""

import pytest

from todre.errors import InvalidValueError
from todre.methods.shared.layers import resolve_layers
from todre.methods.todre import ToDRE
from todre.published import AVERAGE, NAMES, table
from todre.reproduce.benchmarks import BENCHMARKS, chosen
from todre.reproduce.document import restricted
from todre.reproduce.outcome import average
from todre.reproduce.recipes import recipe, recipes
from todre.reproduce.subjects import BUDGETS, subject, subjects

OWN_SCORES = [name for name in NAMES if table(name).kind != "efficiency" and not name.startswith("horizon")]


@pytest.mark.parametrize("name", OWN_SCORES)
def test_averages_follow_from_the_scores_but_where_a_note_says_otherwise(name):
    found = table(name)
    none = {}
    for row in found.rows:
        if row.method is None:
            none = row.values
        mean = average(row.values, none, found.benchmarks)
        fits = abs(mean - row.values[AVERAGE]) <= 0.058  # half a tenth, and what rounded scores add
        assert fits != ("the row's own scores give" in row.notes.get(AVERAGE, "")), (row.title, mean)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_row_can_be_made_or_says_why_not(name, budget):
    for row in table(name).rows:
        made = subject(row, budget)
        if made is None:
            assert row.reason
            continue
        assert (made.name == "none") == (row.method is None)
        if row.retain is not None:
            assert made.retain == (row.tokens if budget == "count" and row.tokens else row.retain)
            assert made.method.retain == made.retain


def test_counts_are_shares_of_2880():
    for name in NAMES:
        for row in table(name).rows:
            assert row.tokens is None or row.tokens == 2880 * row.retain


def test_rows_of_two_models_that_run_the_same_run_once():
    found = table("v1-table1")
    assert len(found.rows) == 18
    assert len(subjects(found.rows)) == 11


def test_ablations_set_what_their_labels_say():
    layers = {row.label: subject(row).method for row in table("v1-table6").rows[1:]}
    assert {label: resolve_layers(method.layers, 32) for label, method in layers.items()} == {
        "L/2": (16,),
        "5L/8": (20,),
        "6L/8": (24,),
        "7L/8": (28,),
        "L": (32,),
        "every layer from L/2 to L": tuple(range(16, 33)),
        "L/2, 5L/8, 6L/8, 7L/8 and L": (16, 20, 24, 28, 32),
        "L/2, 5L/8, 6L/8 and 7L/8 (default)": (16, 20, 24, 28),
    }
    assert {(method.stages, method.threshold) for method in layers.values()} == {((2,), 0.03)}
    taus = [subject(row).method.threshold for row in table("v2-supplement2").rows[1:]]
    assert taus == [0.03, 0.05, 0.1, 0.15]
    pivots = [subject(row).method for row in table("v2-supplement1").rows[1:5]]
    assert [method.pivot for method in pivots] == ["cls", "random", "center", "farthest"]
    stages = [subject(row).method for row in table("v1-table4").rows[1:4]]
    assert stages == [ToDRE.v1(stages=(2,)), ToDRE.v1(stages=(1,), retain=0.25), ToDRE.v1(retain=0.25)]


def test_every_benchmark_of_a_table_is_known():
    for name in NAMES:
        found = table(name)
        if found.kind != "efficiency":
            assert set(found.benchmarks) <= set(BENCHMARKS)
            tasks = [each.scenes for each in chosen(found.benchmarks, {})]
            assert len(set(tasks)) == len(tasks)


def test_recipes_are_the_tables_and_four_figures():
    known = recipes()
    assert [each.name for each in known if each.figure] == [f"v1-figure{number}" for number in (2, 3, 5, 7)]
    assert {each.name for each in known if not each.figure} == set(NAMES)
    assert recipe("v2-table3").table == "v2-table3"
    with pytest.raises(InvalidValueError, match="did you mean 'v1-table1'"):
        recipe("V1_Table1")


def test_a_table_can_be_cut_down_to_some_benchmarks():
    cut = restricted(table("v1-table4"), ("POPE", "MME"))
    assert cut.columns == ("MME", "POPE", "average_percent", "seconds")
    with pytest.raises(InvalidValueError, match="no benchmark 'VQAv2'"):
        restricted(table("v1-table4"), ("VQAv2",))
    with pytest.raises(InvalidValueError, match="costs"):
        restricted(table("v1-table3"), ("POPE",))
