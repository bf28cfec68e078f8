"""The page is what the document says, in the order that it claims."""

import re

import pytest

from todre.reading.leaderboard import findings, page
from todre.reading.results import read


@pytest.fixture(scope="module")
def text(results):
    return page(results, "results/made-up.json", "todre eval --methods all")


def section(text, heading):
    return text.partition(f"{heading}\n")[2].partition("\n#")[0]


def rows(text):
    """The rows of all tables, without their headings."""
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if line[0] not in ("method", "---")]


def points(text):
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d", text)]


@pytest.mark.parametrize("retain", [0.5, 0.1, 0.05])
def test_each_budget_has_every_number_of_every_method(text, document, retain):
    shown = {row[0]: [*row[3:], *row[2:0:-1]] for row in rows(section(text, f"### Kept {100 * retain:g} %"))}
    wanted = {row["name"]: row for row in document["rows"] if row["retain"] == retain}
    assert set(shown) == set(wanted)
    for name, row in wanted.items():
        against = row["against_none"]
        for cell, given in zip(shown[name], (against["retention"], row["score"], against["difference"]), strict=False):
            assert points(cell) == pytest.approx([100 * given[key] for key in ("value", "low", "high")], abs=0.0501)
        low, high = against["difference"]["low"], against["difference"]["high"]
        assert shown[name][3:] == [
            "no" if low <= 0 <= high else "yes", f"{row['visual_tokens']:.0f}", f"{row['layer_mean']:.0f}"
        ]  # fmt: skip


def test_all_tables_of_budgets_have_the_order_of_ten_percent(text, document):
    at = {row["name"]: row["against_none"]["retention"]["value"] for row in document["rows"] if row["retain"] == 0.1}
    for heading in ("### Kept 50 %", "### Kept 10 %", "### Kept 5 %", "## Retention by budget"):
        order = [at[row[0]] for row in rows(section(text, heading))]
        assert len(order) == len(at)
        assert order == sorted(order, reverse=True)


def test_methods_without_a_budget_and_draws_have_tables_of_their_own(text):
    assert [row[0] for row in rows(section(text, "## Methods with a budget of their own"))] == ["vtw"]
    assert not any(row[0] == "vtw" for row in rows(section(text, "## Retention by budget")))
    drawn = rows(section(text, "## Draws of methods that choose at random"))
    assert [row[:2] for row in drawn] == [["random", "50 %"], ["random", "10 %"], ["random", "5 %"]]
    for row in drawn:
        scores = sorted(points(row[3]))
        assert len(scores) == 2
        assert scores[1] - scores[0] == pytest.approx(float(row[4]), abs=0.11)
    assert "* `evs`: EVS compares the frames of a clip." in text


def test_findings_count_who_is_told_apart(results):
    first, *others = findings(results)  # no method here is within its budget
    assert first.startswith("Without pruning the model scores ")
    assert len(others) == 3
    for sentence, retain in zip(others, results.budgets, strict=True):
        entries = results.at(retain)
        best = max(entries, key=lambda entry: entry.value("retention").value)
        assert f"**{best.name}** retains most" in sentence
        assert (
            f"{sum(not entry.differs() for entry in entries)} of {len(entries)} methods are not told apart" in sentence
        )
        chance = next(entry.value("retention").value for entry in entries if entry.name == "random")
        behind = sum(entry.value("retention").value <= chance for entry in entries if entry.name != "random")
        words = {0: "None retains", 1: "One retains"}.get(behind, f"{behind} retain")
        assert f" {words} no more than random choice" in sentence


def test_methods_that_carry_more_than_the_budget_are_not_ranked_with_those_that_do_not(of_two_costs):
    text = page(of_two_costs, "results/made-up.json", "todre eval")
    for heading in ("### Kept 50 %", "### Kept 10 %", "### Kept 5 %", "## Retention by budget"):
        within, _, over = section(text, heading).partition("More visual tokens per layer than the budget:")
        assert "Within the budget:" in within
        assert {row[0] for row in rows(within)} == {"todre", "todre-v1", "random"}
        assert [row[0] for row in rows(over)] == ["fastv"]
    *_, table = section(text, "## Retention by budget").partition("More visual tokens")
    assert "**" not in table
    for sentence, retain in zip(findings(of_two_costs)[1:], of_two_costs.budgets, strict=True):
        within = [entry for entry in of_two_costs.at(retain) if entry.name != "fastv"]
        best = max(within, key=lambda entry: entry.value("retention").value)
        (fastv,) = (entry for entry in of_two_costs.at(retain) if entry.name == "fastv")
        assert f"visual tokens per layer, **{best.name}** retains most, " in sentence
        assert f"of those with more, **fastv**, {points(sentence)[3]}" in sentence
        assert points(sentence)[3] == pytest.approx(100 * fastv.value("retention").value, abs=0.0501)
        assert f"with {fastv.layer_mean:.0f}." in sentence


def test_a_run_without_random_draws_or_own_budgets_has_no_such_tables(evaluated):
    text = page(read([evaluated(["todre"])]), "results/made-up.json", "todre eval")
    assert "random choice" not in text
    assert "## Draws" not in text
    assert "budget of their own" not in text
    assert "## Left out" not in text
