"""Questions about pages, against a reader that knows only where plates stand and what they say."""

from collections import Counter

import numpy as np
import pytest
from pages.readers import answer

from todre.pages import KINDS, PAGE_SIZES, PAGE_TASKS, ask, make_page
from todre.scenes import score


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_are_what_the_page_says(kind, split):
    rng = np.random.default_rng(7)
    tasks, details = Counter(), Counter()
    for seed in range(24):
        page = make_page(seed, split, PAGE_SIZES[seed % 4 if seed % 4 < 3 else 0], kind)
        for question in [*page.questions, *ask(rng, page, PAGE_TASKS * 6)]:
            assert answer(page, question.text) == question.answer, question
            assert question.answer in question.choices
            assert question.detail == f"{kind} {page.novelty}"
            assert score(question, question.answer.upper() + ".") == 1.0
            assert score(question, "nothing") == 0.0
            tasks[question.task] += 1
            details[question.detail] += 1
    assert set(tasks) == set(PAGE_TASKS) - ({"sum"} if kind == "paragraph" else set())
    assert len(details) == (1 if split == "train" else 3)


def test_a_page_has_at_most_one_question_of_each_task_in_order():
    for seed in range(30):
        tasks = [question.task for question in make_page(seed, "val").questions]
        assert tasks == [task for task in PAGE_TASKS if task in tasks]


def test_sums_are_not_printed_and_stay_small():
    sums = [q for seed in range(80) for q in make_page(seed, "val").questions if q.task == "sum"]
    assert max(int(question.answer) for question in sums) <= 20
    assert sum(int(question.answer) > 9 for question in sums) > len(sums) / 4


def test_no_answer_is_right_too_often():
    """The best constant answer to each task, over all kinds of pages."""
    answers = {task: Counter() for task in PAGE_TASKS}
    for seed in range(150):
        for question in make_page(seed, "test").questions:
            answers[question.task][question.answer] += 1
    best = {task: counts.most_common(1)[0][1] / counts.total() for task, counts in answers.items()}
    assert best["reading"] < 0.2
    assert best["locating"] < 0.2
    assert best["sum"] < 0.2
    assert best["count"] < 0.4
