"""Labels of patches, against the labels that scenes get and against the plates' boxes."""

import numpy as np
import pytest

from todre.pages import PAGE_SIZES, make_page, tile_labels
from todre.pages.labels import GROUPS
from todre.scenes.vocabulary import DIGITS, WORDS
from todre.tiny.labels import GROUPS as SCENE_GROUPS
from todre.tiny.labels import tile_labels as scene_tile_labels


@pytest.mark.parametrize("size", PAGE_SIZES)
def test_words_and_digits_are_where_the_labels_of_scenes_put_them(size):
    for seed in range(12):
        page = make_page(seed, "train", size)
        mine, theirs = tile_labels(page), scene_tile_labels(page)
        assert mine.shape == (1 + size[0] * size[1] // 96**2, 144, len(GROUPS))
        for place, group in enumerate(GROUPS):
            if group in ("word", "digit"):
                assert np.array_equal(mine[..., place], theirs[..., list(SCENE_GROUPS).index(group)])


def test_the_patch_in_the_middle_of_each_plate_says_what_the_plate_says():
    for seed in range(12):
        page = make_page(seed, "val")
        labels = tile_labels(page)
        crops = labels[1:].reshape(2, 2, 12, 12, -1).transpose(0, 2, 1, 3, 4).reshape(24, 24, -1)
        thumbnail = labels[0].reshape(12, 12, -1)
        for entry in page.entries:
            x, y = entry.thing.x, entry.thing.y
            for word, digit, line, column in (crops[int(y / 8), int(x / 8)], thumbnail[int(y / 16), int(x / 16)]):
                assert (WORDS[word] if word >= 0 else DIGITS[digit]) == entry.text
                assert (word >= 0) != (digit >= 0)
                assert (line, column) == (int(y // 32), int(x // 48))


def test_a_patch_of_bare_paper_has_no_class():
    page = make_page(3, "train", kind="receipt")
    labels = tile_labels(page)
    bare = (labels == -1).all(axis=-1)
    assert bare.any()
    assert np.array_equal(bare, (labels[..., 0] == -1) & (labels[..., 1] == -1))
    assert all(labels[..., place].max() < classes for place, classes in enumerate(GROUPS.values()))
