"""Sizes of downsampled pictures against a search through every size, counted by the real processor and model."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from geometry.cases import PICTURES, PROMPTS
from geometry.probes import MERGED, merged, pictured

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.geometry import visual_token_boxes
from todre.geometry.sizes import STRETCH, scaled_sizes, whole_cells
from todre.geometry.smaller import counts, smaller

CASES = {name: (pictured, PICTURES[name]) for name in PICTURES} | {name: (merged, name) for name in MERGED}
SQUEEZED = ("llava_next", "internvl", "aya_vision", "ovis2")
"""Families with crops, whose pictures can have any size."""
CELLS = {"qwen2_5_vl": 8, "llava with pixtral": 6}
"""Families that scale to whole cells, and pixels along one side of a cell."""


def probe_of(name):
    make, what = CASES[name]
    return make(what)


def counted(probe, size):
    """Visual tokens that the model makes of a picture, by its real processor."""
    return len(probe.features(probe.model, probe.process([np.zeros((1, size[1], size[0], 3), dtype=np.uint8)])))


@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_of_the_boxes(name):
    probe = probe_of(name)
    for sizes in [*PROMPTS, [(33, 31)], [(150, 10)], [(19, 64), (64, 64), (65, 63)]]:
        boxes = visual_token_boxes(probe.processor, probe.model.config, sizes)
        of_each = [sum(box.image == index for box in boxes) for index in range(len(sizes))]
        assert counts(probe.processor, probe.model.config, sizes) == of_each


def near(width, height, most_width, most_height):
    """Whether a size fits into the picture at its ratio of sides, give or take `STRETCH`."""
    ratio = (width * most_height) / (height * most_width)
    return width <= most_width and height <= most_height and max(ratio, 1 / ratio) <= 1 + STRETCH


@pytest.mark.parametrize("name", SQUEEZED)
@pytest.mark.parametrize("size", [(49, 46), (30, 61)], ids=str)
def test_no_other_size_has_more_tokens_within_the_budget(name, size):
    probe = probe_of(name)
    every = [each for each in itertools.product(range(1, size[0] + 1), range(1, size[1] + 1)) if near(*each, *size)]
    tokens = {each: counted(probe, each) for each in every}
    whole = counted(probe, size)
    for most in range(1, whole + 1):
        fitting = {each: count for each, count in tokens.items() if count <= most}
        if not fitting:
            with pytest.raises((UnsupportedInputError, UnsupportedModelError)):
                smaller(probe.processor, probe.model.config, [size], 0, most)
            continue
        found = smaller(probe.processor, probe.model.config, [size], 0, most)
        assert found.tokens == max(fitting.values()) == tokens[found.size]
        alike = [each for each, count in fitting.items() if count == found.tokens]
        stretch = {each: round(abs(math.log(each[0] * size[1] / (each[1] * size[0]))), 2) for each in alike}
        assert stretch[found.size] == min(stretch.values())
        assert found.size[0] * found.size[1] == max(
            each[0] * each[1] for each in alike if stretch[each] == stretch[found.size]
        )


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("size", [(41, 24), (37, 39), (46, 20)], ids=str)
def test_no_other_grid_within_a_cell_of_the_picture_has_more_tokens(name, size):
    probe, cell = probe_of(name), CELLS[name]
    rows, columns = size[1] / cell, size[0] / cell
    grids = {
        (across, down)
        for scale in np.linspace(0, 1.3, 20001)
        for down in (math.floor(scale * rows), math.ceil(scale * rows))
        for across in (math.floor(scale * columns), math.ceil(scale * columns))
        if 0 < down <= math.ceil(rows) and 0 < across <= math.ceil(columns)
    }
    tokens = {grid: counted(probe, (grid[0] * cell, grid[1] * cell)) for grid in grids}
    whole = counted(probe, size)
    for most in range(1, whole):
        fitting = [count for count in tokens.values() if count <= most]
        if not fitting:
            with pytest.raises((UnsupportedInputError, UnsupportedModelError)):
                smaller(probe.processor, probe.model.config, [size], 0, most)
            continue
        found = smaller(probe.processor, probe.model.config, [size], 0, most)
        assert found.tokens == max(fitting) == counted(probe, found.size)
        assert found.size[0] % cell == found.size[1] % cell == 0


def test_a_picture_within_the_budget_keeps_its_size():
    probe = probe_of("llava_next")
    whole = counted(probe, (40, 30))
    assert smaller(probe.processor, probe.model.config, [(40, 30)], 0, whole).size == (40, 30)


@pytest.mark.parametrize("name", ["vipllava", "gemma3", "paligemma", "smolvlm", "llava with siglip"])
def test_a_fixed_number_of_tokens_cannot_be_lowered(name):
    probe = probe_of(name)
    with pytest.raises(UnsupportedModelError, match="no fewer of a smaller one; use pooling as the control"):
        smaller(probe.processor, probe.model.config, [(50, 40)], 0, 4)


def test_the_floor_is_named_with_a_budget_that_works():
    probe = probe_of("llava_next")
    with pytest.raises(
        UnsupportedInputError, match=r"at most 3 of its \d+ visual tokens.*give a retain of at least"
    ) as no:
        smaller(probe.processor, probe.model.config, [(48, 48)], 0, 3)
    whole, share = counted(probe, (48, 48)), float(str(no.value).split("at least ")[1].split(",")[0])
    assert smaller(probe.processor, probe.model.config, [(48, 48)], 0, max(1, round(share * whole))).tokens < whole


@pytest.mark.parametrize("kind", ["blip-2", "no-such-model"])
def test_families_without_a_known_number_are_refused(kind):
    with pytest.raises(UnsupportedModelError, match="use pooling as the control"):
        smaller(None, SimpleNamespace(model_type=kind), [(50, 40)], 0, 4)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1, 1), (1, 900), (257, 256), (8000, 50)], ids=str)
def test_candidates_are_few_and_near_the_ratio_of_sides(size):
    found = list(scaled_sizes(*size))
    assert 0 < len(found) <= 256 * 16
    assert len(set(found)) == len(found)
    assert all(near(*each, *size) for each in found)
    cells = list(whole_cells(*size, 28))
    assert len(set(cells)) == len(cells)
    assert (28, 28) in cells
