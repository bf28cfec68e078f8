"""Several pictures and clips through `todre eval`, with the shipped model that takes them."""

import json

import pytest

from todre.errors import TodreError
from todre.evaluate.engine import run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.further import blind
from todre.evaluate.grid import grid
from todre.evaluate.tasks import GROUPS, SEVERAL, tasks_of
from todre.evaluate.tasks.several import FRAMES, ClipTask, SetTask
from todre.tiny import SHIPPED_VIDEO

MANY = GROUPS["scenes-multi"][0]
CLIP = GROUPS["scenes-video"][0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("further") / "run"
    run(
        EvalConfig((MANY, CLIP), SHIPPED_VIDEO, limit=3, device="cpu", batch_size=2),
        grid(["todre", "random"], [0.25], 1),
        output,
    )
    return output


def test_pruning_counts_the_tokens_of_all_pictures_and_frames(folder):
    items = {(i["task"], i["id"]): i for i in map(json.loads, (folder / "items.jsonl").read_text().splitlines())}
    assert [item.get("video", False) for item in items.values()] == [False] * 3 + [True] * 3
    for line in map(json.loads, (folder / "samples.jsonl").read_text().splitlines()):
        share = 1.0 if line["condition"] == "none" else 0.25
        if line["task"] == CLIP:
            assert line["visual_tokens"] == FRAMES * 36 * share
        else:
            assert line["visual_tokens"] in (600 * share, 900 * share)
        assert line["prediction"]


def test_answers_are_those_of_the_model_asked_directly(folder):
    from todre.clips import clip_of_frames
    from todre.loading.model import load
    from todre.methods.base import NoPruning
    from todre.running import Settings, answer

    loaded = load(SHIPPED_VIDEO, device="cpu")
    reply = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for task in tasks_of([MANY, CLIP]):
        item = task.items(1, 0)[0]
        media = [opened() for opened in item.media]
        media = [clip_of_frames(media, 2.0)] if item.video else media
        given = answer(loaded, media, item.question, NoPruning(), Settings(max_new_tokens=item.new_tokens))
        (found,) = [s for s in reply if s["condition"] == "none" and s["task"] == item.task and s["id"] == item.id]
        assert given.text.strip() == found["prediction"].strip()


def test_a_model_without_clips_says_so_in_one_sentence(checkpoint, tmp_path):
    with pytest.raises(TodreError, match="takes pictures and no clips"):
        run(EvalConfig((CLIP,), str(checkpoint), limit=1, device="cpu"), grid([], []), tmp_path / "run")


def test_grey_pictures_are_as_many_and_as_large():
    asked = EvalConfig((MANY, CLIP), SHIPPED_VIDEO, limit=2, device="cpu", batch_size=2)
    marks = blind(asked, asked.items())
    assert len(marks) == 4
    assert set(marks) <= {0.0, 1.0}


def test_items_of_a_set_and_of_a_clip_show_what_they_say():
    (item,) = SetTask("which").items(1, 3)
    assert len(item.media) in (2, 3)
    assert not item.facts().get("video")
    (item,) = ClipTask("appears").items(1, 3)
    assert len(item.media) == FRAMES
    assert item.facts()["video"]
    frames = [opened().tobytes() for opened in item.media]
    assert frames[0] != frames[-1]
    assert [task.name for task in tasks_of(SEVERAL)] == list(SEVERAL)
    assert {*GROUPS["scenes-multi"], *GROUPS["scenes-video"]} < {*SEVERAL}
