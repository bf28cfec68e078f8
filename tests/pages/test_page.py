"""Pages: determinism, splits, places of plates, and what training pages never have."""

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.pages import KINDS, NOVELTIES, PAGE_SIZES, PAGE_TASKS, ask, make_page, questions
from todre.pages.vocabulary import SEEN_LAYOUTS, UNSEEN_LAYOUTS, UNSEEN_WORDS
from todre.scenes import SPLITS, make_scene


@pytest.fixture(scope="module")
def pages():
    """{split: pages}, of every size and kind."""
    return {
        split: [make_page(seed, split, size) for size in PAGE_SIZES for seed in range(60)]
        for split in ("train", "test")
    }


@pytest.mark.parametrize("size", PAGE_SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_arguments_give_equal_pages(kind, size):
    first, second = make_page(11, "val", size, kind), make_page(11, "val", size, kind)
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.entries, first.questions) == (second.entries, second.questions)
    assert np.array_equal(first.owners, second.owners)
    assert first.kind == kind
    assert first.size == first.image.size == first.owners.shape[::-1] == size


def test_seed_split_and_size_each_change_the_page():
    pictures = {
        make_page(seed, split, size).image.resize((48, 48)).tobytes()
        for seed in range(4)
        for split in SPLITS
        for size in PAGE_SIZES
    }
    assert len(pictures) == 36
    assert make_page(0, "val").image.tobytes() != make_scene(0, "val").image.tobytes()


def test_no_page_of_one_split_is_in_another(pages):
    looks = {split: {page.image.tobytes() for page in made} for split, made in pages.items()}
    assert len(looks["train"]) == len(looks["test"]) == 180
    assert looks["train"].isdisjoint(looks["test"])


def test_plates_lie_inside_apart_and_within_one_crop(pages):
    for page in [*pages["train"], *pages["test"]]:
        width, height = page.size
        boxes = [entry.box for entry in page.entries]
        for place, (left, top, right, bottom) in enumerate(boxes):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert left // 96 == np.nextafter(right, 0) // 96
            assert top // 96 == np.nextafter(bottom, 0) // 96
            for others in boxes[:place]:
                assert right <= others[0] or others[2] <= left or bottom <= others[1] or others[3] <= top


def test_owner_map_marks_every_plate_where_its_box_is(pages):
    for page in pages["train"]:
        for number, entry in enumerate(page.entries, 1):
            rows, columns = np.nonzero(page.owners == number)
            left, top, right, bottom = entry.box
            assert left - 1 <= columns.min()
            assert columns.max() <= right + 1
            assert top - 1 <= rows.min()
            assert rows.max() <= bottom + 1
            assert len(rows) >= 0.6 * (right - left) * (bottom - top)


def test_plates_have_the_sizes_of_scenes_or_hardly_less(pages):
    words = [t.half_width for p in pages["train"] for t in p.objects if t.kind == "word"]
    digits = [t.half_width for p in pages["train"] for t in p.objects if t.kind == "digit"]
    drawn = [thing for seed in range(60) for thing in make_scene(seed).objects]
    scene_words = [thing.half_width for thing in drawn if thing.kind == "word"]
    scene_digits = [thing.half_width for thing in drawn if thing.kind == "digit"]
    assert abs(np.mean(words) - np.mean(scene_words)) < 0.3
    assert min(digits) > 0.9 * min(scene_digits)


def test_training_pages_lack_the_layouts_and_words_that_are_held_out(pages):
    for page in pages["train"]:
        assert page.novelty == "seen"
        assert page.layout in SEEN_LAYOUTS[page.kind]
        assert not {entry.text for entry in page.entries} & set(UNSEEN_WORDS[page.kind])
        for question in page.questions:
            assert not {part.strip("?,") for part in question.text.split()} & set(UNSEEN_WORDS[page.kind])
    assert {(page.kind, page.layout) for page in pages["train"]} == {
        (kind, layout) for kind in KINDS for layout in SEEN_LAYOUTS[kind]
    }
    assert all(not set(SEEN_LAYOUTS[kind]) & set(UNSEEN_LAYOUTS[kind]) for kind in KINDS)
    assert all("tea" in words for words in UNSEEN_WORDS.values())


def test_test_pages_are_half_seen_and_a_quarter_each_of_what_is_new(pages):
    made = pages["test"]
    for page in made:
        unseen = {entry.text for entry in page.entries} & set(UNSEEN_WORDS[page.kind])
        assert bool(unseen) == (page.novelty == "unseen-words")
        assert (page.layout in UNSEEN_LAYOUTS[page.kind]) == (page.novelty == "unseen-layout")
    counts = [sum(page.novelty == novelty for page in made) / len(made) for novelty in NOVELTIES]
    assert np.allclose(counts, (0.5, 0.25, 0.25), atol=0.12)


def test_reading_questions_of_pages_with_unseen_words_are_about_these(pages):
    new = [page for page in pages["test"] if page.novelty == "unseen-words"]
    about = [
        bool({part.strip("?,") for part in f"{q.text} {q.answer}".split()} & set(UNSEEN_WORDS[page.kind]))
        for page in new
        for q in page.questions
        if q.task == "reading"
    ]
    assert np.mean(about) >= 0.9


def test_question_iterator_yields_exactly_n_of_the_wanted_tasks():
    found = list(questions(["sum", "count"], 23, "val"))
    assert len(found) == 23
    assert {question.task for _, question in found} == {"sum", "count"}
    assert [q for _, q in found] == [q for _, q in questions(["sum", "count"], 23, "val")]
    assert all(question in page.questions for page, question in found)


def test_more_questions_can_be_asked_about_a_page():
    page = make_page(0, kind="receipt")
    assert ask(np.random.default_rng(1), page, ("reading",) * 20) == ask(
        np.random.default_rng(1), page, ("reading",) * 20
    )
    asked = ask(np.random.default_rng(1), page, PAGE_TASKS * 9)
    assert len({question.text for question in asked}) > 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((-1,), "seed is an integer"),
        ((0, "dev"), "split named 'dev'"),
        ((0, "val", 200), "sizes 192 by 192, 192 by 96, 96 by 192 pixels, not 200 by 200"),
        ((0, "val", (96, 96)), "not 96 by 96"),
        ((0, "val", 192, "letter"), "kind of page named 'letter'; use one of paragraph, table, receipt, form"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(arguments, said):
    with pytest.raises(InvalidValueError, match=said):
        make_page(*arguments)


def test_wrong_tasks_are_refused_in_one_sentence():
    with pytest.raises(InvalidValueError, match="task of pages named 'smell'; use some of reading"):
        next(questions(["smell"], 1))
    with pytest.raises(InvalidValueError, match="no task of pages is named"):
        next(questions([], 1))
    with pytest.raises(InvalidValueError, match="task of pages named 'smell'"):
        ask(np.random.default_rng(0), make_page(0), ["smell"])
