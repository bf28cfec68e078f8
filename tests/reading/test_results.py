"""What is read is what was written; results are put together only where that says something."""

import collections
import copy
import json

import pytest

from todre.errors import InvalidValueError
from todre.reading.results import ALL, NONE, Interval, read


def test_every_number_of_the_document_is_there(results, document, folder):
    rows = {f"{row['name']}@{row['retain']}": row for row in document["rows"]}
    assert [f"{entry.name}@{entry.retain}" for entry in (*results.none, *results.entries)] == list(rows)
    for entry in results.entries:
        row = rows[f"{entry.name}@{entry.retain}"]
        assert entry.value("score") == Interval(**row["score"])
        for measure in ("difference", "retention"):
            assert entry.value(measure) == Interval(**row["against_none"][measure])
            for task, given in row["against_none"]["tasks"].items():
                assert entry.value(measure, task) == Interval(**given[measure])
        assert entry.share == row["layer_mean"] / document["rows"][0]["visual_tokens"]
    assert results.budgets == (0.5, 0.1, 0.05)
    assert set(results.left_out) == {"evs@0.5", "evs@0.1", "evs@0.05"}
    assert results == read([folder / "result.json"])


def test_scores_of_draws_follow_from_the_answers(evaluated):
    folder = evaluated(["random"], [0.1], tasks=("scenes-colour", "scenes-caption"))
    marks = collections.defaultdict(list)
    for line in (folder / "samples.jsonl").read_text().splitlines():
        sample = json.loads(line)
        marks[sample["condition"], sample["task"]].append(sample["score"])
    means = {key: sum(values) / len(values) for key, values in marks.items()}
    (entry,) = read([folder]).entries
    of_draws = [
        (means[f"random@0.1#{draw}", "scenes-colour"] + means[f"random@0.1#{draw}", "scenes-caption"]) / 2
        for draw in range(2)
    ]
    assert entry.drawn == pytest.approx(of_draws, abs=1e-6)
    assert sum(entry.drawn) / 2 == pytest.approx(entry.value("score").value, abs=1e-6)


def test_methods_run_apart_are_as_if_run_together(evaluated, results):
    apart = read([evaluated(["todre", "random", "fastv"]), evaluated(["random", "todre-v1", "vtw"])])
    assert set(map(repr, apart.entries)) == set(map(repr, results.entries))
    assert apart.none == results.none


def test_other_questions_are_refused(evaluated, folder):
    with pytest.raises(InvalidValueError, match="not about the same questions"):
        read([folder, evaluated(["todre"], seed=1)])


def test_files_that_disagree_are_refused(folder, document, written):
    document["rows"][1]["score"]["value"] += 0.01
    with pytest.raises(InvalidValueError, match=r"other numbers for todre@0\.5"):
        read([folder, written(document)])


def test_two_models_are_told_apart_by_name(folder, document, written):
    other = copy.deepcopy(document)
    other["conditions"] |= {"model": "somebody/large-7b", "model_sha256": "0"}
    for row in other["rows"]:
        row["visual_tokens"] *= 2
    both = read([folder, written(other)])
    assert [none.name for none in both.none] == ["none (nowhere)", "none (large-7b)"]
    assert len(both.entries) == 2 * (len(document["rows"]) - 1)
    assert {entry.before for entry in both.entries if "7b" in entry.name} == {2 * both.none[0].before}
    other["conditions"] |= {"model": document["conditions"]["model"], "dtype": "bfloat16"}
    assert read([folder, written(other)]).none[1].name == "none (nowhere, bfloat16)"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("[]", "needs an object there"), ('{"what": "accuracy"}', "is no result of")],
)
def test_files_of_others_are_refused(tmp_path, text, words):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InvalidValueError, match=words):
        read([tmp_path])
    with pytest.raises(InvalidValueError, match="does not exist"):
        read([tmp_path / "gone"])
    with pytest.raises(InvalidValueError, match="No result is named"):
        read([])


def test_methods_and_budgets_that_were_not_run_are_refused(results):
    assert results.only(["vtw", "todre"]).names == ("vtw", "todre")
    assert results.only([NONE]).entries == ()
    with pytest.raises(InvalidValueError, match="did you mean 'todre'"):
        results.only(["todr"])
    assert results.budget() == 0.1
    with pytest.raises(InvalidValueError, match=r"use one of 0\.5, 0\.1, 0\.05"):
        results.budget(0.2)
    with pytest.raises(InvalidValueError, match="No method here has a budget"):
        results.only(["vtw"]).budget()


def test_counts_come_after_shares_and_the_usual_budget_is_near_a_tenth(evaluated):
    found = read([evaluated(["todre"], [9, 0.9, 60, 0.5])])
    assert found.budgets == (0.9, 0.5, 60, 9)
    assert found.budget() == 9
    assert found.entries[0].value("retention", "no such task") == Interval(None)
    assert not Interval(0.5, None, None).excludes(0)
    assert found.entries[0].differs(ALL) == found.entries[0].value("difference").excludes(0.0)
