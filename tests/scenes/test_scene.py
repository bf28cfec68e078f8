"""Scenes: determinism, disjoint splits, objects that can be told apart, and bad arguments."""

from itertools import pairwise

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.scenes import PHOTOGRAPHS, SPLITS, make_scene, photograph, questions
from todre.scenes.scene import SEEDS_PER_SPLIT, absolute_seed

SIZES = [192, (192, 96), (96, 192), (144, 192), (256, 160)]


@pytest.mark.parametrize("size", SIZES)
def test_equal_arguments_give_equal_scenes(size):
    first, second = make_scene(11, "val", size), make_scene(11, "val", size)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.objects == second.objects
    assert first.questions == second.questions
    assert np.array_equal(first.owners, second.owners)


def test_seed_split_and_size_each_change_the_picture():
    pictures = {
        make_scene(seed, split, size).image.resize((32, 32)).tobytes()
        for seed in (0, 1)
        for split in SPLITS
        for size in (192, (192, 96))
    }
    assert len(pictures) == 12


def test_splits_own_disjoint_ranges_of_seeds():
    edges = [(absolute_seed(0, split), absolute_seed(SEEDS_PER_SPLIT - 1, split)) for split in SPLITS]
    for (_, last), (first, _) in pairwise(edges):
        assert last < first


@pytest.mark.parametrize("size", SIZES)
def test_picture_has_the_size_asked_for(size):
    width, height = (size, size) if isinstance(size, int) else size
    scene = make_scene(3, "train", size)
    assert scene.image.size == scene.size == (width, height)
    assert scene.owners.shape == (height, width)
    assert scene.image.mode == "RGB"


def test_full_pictures_hold_eight_to_fourteen_objects_to_ask_about():
    counts = [sum(o.kind != "distractor" for o in make_scene(seed, "val").objects) for seed in range(60)]
    assert min(counts) >= 7
    assert max(counts) <= 14
    assert np.mean([8 <= count <= 14 for count in counts]) >= 0.95


def test_objects_lie_inside_and_apart():
    for seed in range(40):
        scene = make_scene(seed, "val")
        for index, thing in enumerate(scene.objects):
            assert thing.half_width <= thing.x <= 192 - thing.half_width
            assert thing.half_height <= thing.y <= 192 - thing.half_height
            for other in scene.objects[:index]:
                apart_x = abs(thing.x - other.x) >= thing.half_width + other.half_width
                apart_y = abs(thing.y - other.y) >= thing.half_height + other.half_height
                assert apart_x or apart_y


def test_owner_map_marks_every_object_near_its_centre_and_its_colour_is_there():
    from todre.scenes.vocabulary import COLOURS

    for seed in range(20):
        scene = make_scene(seed, "train")
        pixels = np.asarray(scene.image).astype(int)
        for index, thing in enumerate(scene.objects):
            mine = scene.owners == index + 1
            rows, columns = np.nonzero(mine)
            assert abs(rows.mean() - thing.y) < 2.5
            assert abs(columns.mean() - thing.x) < 2.5
            if thing.kind == "shape":
                inner = pixels[mine]
                vivid = inner[np.argsort(np.ptp(inner, axis=1))[-max(4, len(inner) // 4) :]].mean(axis=0)
                nearest = min(COLOURS, key=lambda name: np.abs(vivid - COLOURS[name]).sum())
                assert nearest == thing.colour


def test_all_backgrounds_occur():
    assert {make_scene(seed).background for seed in range(30)} == {"plain", "textured", "photographic"}


@pytest.mark.parametrize("bad", [-1, 2**40, True])
def test_bad_seed_is_refused(bad):
    with pytest.raises(InvalidValueError, match="seed"):
        make_scene(bad)


def test_bad_split_task_size_and_photograph_are_refused():
    with pytest.raises(InvalidValueError, match="split named 'dev'"):
        make_scene(0, "dev")
    with pytest.raises(InvalidValueError, match="pixels"):
        make_scene(0, size=20)
    with pytest.raises(InvalidValueError, match="task named 'smell'"):
        next(questions(["smell"], 1))
    with pytest.raises(InvalidValueError, match="no task of scenes is named; use some of presence"):
        next(questions((), 5))
    with pytest.raises(InvalidValueError, match="photograph named 'dog'"):
        photograph("dog")


def test_photographs_are_shipped_and_fresh_copies():
    for name in PHOTOGRAPHS:
        picture = photograph(name)
        assert picture.mode == "RGB"
        assert min(picture.size) >= 300
        picture.putpixel((0, 0), (1, 2, 3))
        assert photograph(name).getpixel((0, 0)) != (1, 2, 3) or photograph(name) is not picture


def test_question_iterator_yields_exactly_n_of_the_wanted_tasks():
    pairs = list(questions(["count", "digit"], 31, "val"))
    assert len(pairs) == 31
    assert {question.task for _, question in pairs} == {"count", "digit"}
    again = list(questions(["count", "digit"], 31, "val"))
    assert [q for _, q in pairs] == [q for _, q in again]
