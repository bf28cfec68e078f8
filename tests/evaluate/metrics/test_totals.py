"""Scores of tasks against counting by hand; sums of parts are all they need."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.evaluate.metrics import Marked, total_of
from todre.evaluate.metrics.totals import MOST_KINDS, Mean, Mme, Pope


def test_mean():
    marked = [Marked(1.0), Marked(0.5), Marked(0.0)]
    assert Mean().value(Mean().parts(marked).sum(axis=0)) == 0.5
    assert np.isnan(Mean().value(np.zeros(2)))


def test_a_mean_is_broken_down_by_kind_and_the_same_with_and_without_kinds():
    marked = [Marked(1.0, kind="seen"), Marked(0.5, kind="new"), Marked(0.0, kind="new"), Marked(1.0)]
    total = total_of("exact", [each.kind for each in marked])
    sums = total.parts(marked).sum(axis=0)
    assert total.value(sums) == Mean().value(Mean().parts(marked).sum(axis=0)) == 0.625
    assert total.details(sums) == {"new": {"mean": 0.25, "questions": 2}, "seen": {"mean": 1.0, "questions": 1}}
    assert total.value(np.stack([sums, 2 * sums])).tolist() == [0.625, 0.625]


def test_a_mean_without_kinds_or_with_too_many_has_no_details():
    assert total_of("exact", ["", ""]) == Mean()
    assert Mean().details(np.array([1.0, 2.0])) == {}
    assert total_of("exact", [str(number) for number in range(MOST_KINDS + 1)]) == Mean()
    assert len(total_of("exact", [str(number) for number in range(MOST_KINDS)]).kinds) == MOST_KINDS


def test_pope_by_hand():
    """Random: TP 2, FP 1, FN 1, TN 2. Popular: TP 1, FN 1, TN 1, so that no wrong yes is said."""
    random = [("yes", "yes"), ("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no"), ("no", "no")]
    popular = [("yes", "yes"), ("no", "yes"), ("no", "no")]
    marked = [Marked(float(s == t), s, t, "random") for s, t in random]
    marked += [Marked(float(s == t), s, t, "popular") for s, t in popular]
    total = total_of("pope", [each.kind for each in marked])
    sums = total.parts(marked).sum(axis=0)
    assert total.value(sums) == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert total.details(sums) == {
        "random": {
            "accuracy": 0.666667, "precision": 0.666667, "recall": 0.666667, "f1": 0.666667, "yes_ratio": 0.5,
        },
        "popular": {"accuracy": 0.666667, "precision": 1.0, "recall": 0.5, "f1": 0.666667, "yes_ratio": 0.333333},
    }  # fmt: skip


def test_pope_without_a_yes_has_no_precision():
    marked = [Marked(0.0, "no", "yes", "random"), Marked(1.0, "no", "no", "random")]
    total = Pope(("random",))
    details = total.details(total.parts(marked).sum(axis=0))["random"]
    assert details["precision"] is None
    assert details["f1"] == 0.0


def test_mme_by_hand():
    """Existence: both of one pair, one of the other; position: one of a pair."""
    scores = {("existence", "1"): (1, 1), ("existence", "2"): (1, 0), ("position", "1"): (0, 1)}
    marked = [Marked(float(s), kind=kind, pair=pair) for (kind, pair), both in scores.items() for s in both]
    total = total_of("mme", [each.kind for each in marked])
    sums = total.parts(marked).sum(axis=0)
    assert total.value(sums) == pytest.approx(((3 / 4 + 1 / 2) / 2 + (1 / 2 + 0) / 2) / 2)
    assert total.details(sums) == {
        "existence": {"accuracy": 0.75, "accuracy_plus": 0.5, "points": 125.0},
        "position": {"accuracy": 0.5, "accuracy_plus": 0.0, "points": 50.0},
    }


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_f1_is_the_harmonic_mean(pairs):
    marked = [Marked(0, "yes" if s else "no", "yes" if t else "no", "random") for s, t in pairs]
    total = Pope(("random",))
    sums = total.parts(marked).sum(axis=0)
    details = total.details(sums)["random"]
    precision, recall = details["precision"], details["recall"]
    if precision and recall:
        assert total.value(sums) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-5)


def test_a_resample_that_doubles_everything_changes_nothing():
    kinds = ("existence", "position")
    marked = [Marked(float(i % 3 == 0), kind=kinds[i % 4 // 2], pair=str(i // 2)) for i in range(24)]
    total = Mme(kinds)
    sums = total.parts(marked).sum(axis=0)
    assert total.value(np.stack([sums, 2 * sums])) == pytest.approx([float(total.value(sums))] * 2)
