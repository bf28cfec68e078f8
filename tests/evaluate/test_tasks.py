"""Tasks are the same at each call, grow without changing, and say what is wrong with a file of one's own."""

import json

import pytest
from PIL import Image

from todre.errors import ImageError, InvalidValueError
from todre.evaluate.metrics import mark
from todre.evaluate.tasks import names, tasks_of
from todre.evaluate.tasks.local import LocalTask
from todre.evaluate.tasks.pope import census, negatives, pairs_in
from todre.evaluate.tasks.scenes import SEEDS, scene_of
from todre.pages import make_page
from todre.scenes import make_scene, wordings_of
from todre.scenes.scene import scene_objects

SIZE = 96
PAGE_SIDE = 192


@pytest.mark.parametrize("name", names())
def test_a_task_is_the_same_again_and_its_beginning_is_that_of_a_longer_one(name):
    side = PAGE_SIDE if name.startswith("pages-") else SIZE
    (task,) = tasks_of([name], side)
    items = task.items(6, 0)
    assert items == task.items(12, 0)[:6] or [i.facts() for i in items] == [i.facts() for i in task.items(12, 0)][:6]
    assert len(items) == len({item.id for item in items}) == 6
    assert {item.metric for item in items} == {task.metric}
    other = task.items(6, 1)
    assert {item.picture for item in items}.isdisjoint(item.picture for item in other)
    image = items[0].media[0]()
    assert image.size == (side, side)


def test_scenes_are_those_of_the_test_split_and_of_their_seed():
    (task,) = tasks_of(["scenes-colour"], SIZE)
    first = task.items(1, 2)[0]
    scene = make_scene(int(first.id), "test", SIZE)
    assert int(first.id) >= 2 * SEEDS
    assert first.media[0]().tobytes() == scene.image.tobytes()
    (question,) = [question for question in scene.questions if question.task == "colour"]
    assert (first.question, first.references) == (question.text, (question.answer,))


def test_reworded_scenes_have_the_pictures_and_answers_of_scenes_and_held_out_words():
    for kind in ("relation", "caption"):
        stock, worded = (tasks_of([f"{group}-{kind}"], SIZE)[0].items(20, 1) for group in ("scenes", "wordings"))
        assert [(i.id, i.picture, i.references) for i in stock] == [(i.id, i.picture, i.references) for i in worded]
        assert stock[0].media[0]().tobytes() == worded[0].media[0]().tobytes()
        assert {item.question for item in stock}.isdisjoint(item.question for item in worded)
        openings = {wording.split("{")[0] for wording in wordings_of(kind, "test")}
        assert all(any(item.question.startswith(opening) for opening in openings) for item in worded)


def test_sentences_hold_the_pairs_of_the_captions_and_are_marked_like_these():
    (captions, sentences) = (task.items(5, 0) for task in tasks_of(["scenes-caption", "wordings-sentence"], SIZE))
    for caption, sentence in zip(captions, sentences, strict=True):
        assert sentence.metric == caption.metric == "pairs-f1"
        assert mark("pairs-f1", sentence.references[0], caption.references) == 1.0
        assert sentence.references[0].startswith("There is a")
        assert sentence.new_tokens > len(sentence.references[0].split()) * 1.4


def test_pages_are_those_of_the_test_split_and_say_what_is_new_about_them():
    for task in tasks_of(["pages"]):
        items = task.items(60, 3)
        assert {item.kind for item in items} == {"seen", "unseen-layout", "unseen-words"}
        for item in items[:8]:
            page = make_page(int(item.id), "test")
            assert item.picture == f"page-{page.kind}-{item.id}"
            assert item.media[0]().tobytes() == page.image.tobytes()
            (question,) = [question for question in page.questions if f"pages-{question.task}" == task.name]
            assert (item.question, item.references, item.kind) == (question.text, (question.answer,), page.novelty)


def test_pages_come_in_one_size_and_names_are_spelled_right():
    with pytest.raises(InvalidValueError, match="Pages are 192 by 192 pixels, not 96 by 96; leave the size out"):
        tasks_of(["pages"], 96)
    with pytest.raises(InvalidValueError, match="no task 'page'; did you mean 'pages'"):
        tasks_of(["page"])
    with pytest.raises(InvalidValueError, match="no task 'wordings-color'; did you mean 'wordings-colour'"):
        tasks_of(["wordings-color"])


def test_objects_without_drawing_are_those_that_are_drawn():
    assert scene_objects(5, "val", SIZE) == make_scene(5, "val", SIZE).objects


def test_pope_asks_what_is_there_and_what_is_not_under_each_strategy():
    (task,) = tasks_of(["scenes-pope"])
    items = task.items(36, 0)
    asked = {}
    for item in items:
        scene = scene_of(int(item.id.split("-")[0]), 192)
        colour, shape = item.question.removesuffix(" in the picture?").split()[-2:]
        assert ((colour, shape) in pairs_in(scene)) == (item.references == ("yes",))
        asked.setdefault((item.picture, item.kind), []).append((item.references[0], colour, shape))
    assert len(asked) == 6
    assert all([answer for answer, *_ in each] == ["yes", "no"] * 3 for each in asked.values())
    pictures = {picture for picture, _ in asked}
    for picture in pictures:
        yes = [
            {each for each in asked[picture, kind] if each[0] == "yes"} for kind in ("random", "popular", "adversarial")
        ]
        assert yes[0] == yes[1] == yes[2]


def test_popular_negatives_are_the_most_frequent_and_adversarial_ones_come_together_most_often():
    seen, together = census()
    present = pairs_in(scene_of(0, 192))
    absent = [pair for pair in seen if pair not in present]
    popular = negatives(present, "popular", 3, None)
    assert min(seen[pair] for pair in popular) >= max(seen[pair] for pair in absent if pair not in popular)
    adversarial = negatives(present, "adversarial", 3, None)
    beside = {pair: sum(together[each, pair] for each in present) for pair in absent}
    assert min(beside[p] for p in adversarial) >= max(beside[pair] for pair in absent if pair not in adversarial)
    assert not set(present) & {*popular, *adversarial}


def test_mme_asks_in_pairs_of_a_yes_and_a_no():
    (task,) = tasks_of(["scenes-mme"])
    items = task.items(21, 0)
    assert len(items) == 20
    pairs = {}
    for item in items:
        pairs.setdefault((item.kind, item.pair, item.picture), []).append(item.references[0])
    assert all(answers == ["yes", "no"] for answers in pairs.values())
    assert {kind for kind, *_ in pairs} == {"existence", "position"}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    Image.new("RGB", (20, 30), "blue").save(tmp_path / "b.png")
    return tmp_path


def written(folder, *lines):
    file = folder / "mine.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return LocalTask(file)


def test_a_file_of_ones_own(folder):
    task = written(
        folder,
        {"image": "a.png", "question": "What?", "answers": ["red"] * 9 + ["pink"], "metric": "vqa"},
        "",
        {
            "image": ["a.png", "b.png"],
            "question": "Which?",
            "answers": "blue",
            "metric": "vqa",
            "id": "two",
            "new_tokens": 5,
        },
    )
    first, second = task.items(None, 0)
    assert (task.name, task.metric) == ("mine", "vqa")
    assert (first.id, first.references, first.new_tokens) == ("1", ("red",) * 9 + ("pink",), 16)
    assert (second.id, second.references, second.new_tokens) == ("two", ("blue",), 5)
    assert [opened().size for opened in second.media] == [(30, 20), (20, 30)]
    assert len(task.items(1, 0)) == 1


GOOD = {"image": "a.png", "question": "What?", "answers": ["red"]}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([GOOD, "{oops"], "Line 2 of .* is no JSON object"),
        (["[]"], "Line 1 of .* is no JSON object"),
        ([{**GOOD, "question": " "}], "has no question"),
        ([{**GOOD, "answers": []}], "has no answers"),
        ([{**GOOD, "answers": [3]}], r"has answers\[0\] 3"),
        ([{**GOOD, "image": ""}], "has no image"),
        ([{**GOOD, "metric": "f1"}], "There is no metric 'f1'"),
        ([{**GOOD, "metric": 3}], "has metric 3"),
        ([{**GOOD, "metric": "pope"}], "takes yes or no"),
        ([{**GOOD, "answers": "yes", "metric": "mme"}], '"pair"'),
        ([{**GOOD, "new_tokens": 0}], "new_tokens 0"),
        ([{**GOOD, "id": "x"}, {**GOOD, "id": "x"}], "has the id 'x' of line 1"),
        ([GOOD, {**GOOD, "metric": "anls"}], "'anls' after 'exact'"),
        ([" "], "holds no question"),
    ],
)
def test_a_bad_line_is_one_sentence_that_names_it(folder, lines, words):
    with pytest.raises(InvalidValueError, match=words):
        written(folder, *lines).items(None, 0)


def test_a_missing_picture_or_file_and_unknown_names(folder):
    with pytest.raises(ImageError, match=r"nothing\.png does not exist"):
        written(folder, {**GOOD, "image": "nothing.png"}).items(None, 0)
    with pytest.raises(InvalidValueError, match=r"gone\.jsonl does not exist"):
        LocalTask(folder / "gone.jsonl").items(None, 0)
    with pytest.raises(InvalidValueError, match="did you mean 'scenes-colour'"):
        tasks_of(["scenes-color"])
    with pytest.raises(InvalidValueError, match="have the name 'scenes-word'"):
        tasks_of(["scenes", "scenes-word"])
