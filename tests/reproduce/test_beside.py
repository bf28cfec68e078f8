"""Further methods have rows at each of a table's budgets."""

import pytest

from todre.errors import InvalidValueError, TodreError
from todre.published import NAMES, table
from todre.reproduce.subjects import subject, with_beside


@pytest.mark.parametrize("name", NAMES)
def test_each_model_and_budget_of_a_table_gets_the_methods_once(name):
    whole = table(name)
    budgets = dict.fromkeys((row.model, row.retain) for row in whole.rows if row.retain is not None)
    if not budgets:
        with pytest.raises(InvalidValueError, match="names no budgets"):
            with_beside(whole, ["downsample"])
        return
    wider = with_beside(whole, ["downsample", "pooling"])
    added = [row for row in wider.rows if row.method in ("downsample", "pooling")]
    assert [(row.model, row.retain) for row in added if row.method == "pooling"] == list(budgets)
    assert tuple(row for row in wider.rows if row not in added) == whole.rows
    assert all(not row.values for row in added)
    assert wider.columns == whole.columns
    for row in added:
        published = [each for each in whole.rows if (each.model, each.retain) == (row.model, row.retain)]
        assert row.tokens in {each.tokens for each in published}
        assert subject(row).method.retain == row.retain


def test_nothing_beside_leaves_the_table_as_it_is():
    whole = table("v1-table1")
    assert with_beside(whole, []) is whole


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        (["vtw"], "vtw has no budget"),
        (["pooling:retain=0.3"], "sets a budget"),
        (["pooling", "pooling"], "measured twice"),
        (["todre-v1"], "measured twice"),
        (["poling"], "poling"),
        (["pooling:strange=1"], "strange"),
    ],
)
def test_methods_that_cannot_stand_beside_are_refused(methods, sentence):
    with pytest.raises(TodreError, match=sentence):
        with_beside(table("v1-table1"), methods)
