"""Symbolic grids: labels and questions describe the same objects."""

import numpy as np
import pytest

from todre.scenes.vocabulary import COLOURS, SHAPES
from todre.tiny.grids import EASY_MIX, HARD_MIX, LATER_RELATIONS, make_grid
from todre.tiny.labels import KINDS


@pytest.mark.parametrize(("side", "objects"), [(4, 2), (6, 7), (9, 10)])
def test_labels_hold_every_object_once_by_its_centre(side, objects):
    for seed in range(10):
        grid = make_grid(np.random.default_rng(seed), side, objects, HARD_MIX)
        assert grid.labels.shape == (side * side, 8)
        centres = grid.labels[grid.labels[:, 5] == 1]
        shapes = centres[(centres[:, 0] >= 1) & (centres[:, 0] <= len(SHAPES))]
        assert len(shapes) == objects
        named = {f"{list(COLOURS)[c]} {KINDS[k]}" for k, c in shapes[:, :2]}
        for question in grid.questions:
            if question.task == "caption":
                assert set(question.answer.split(", ")) == named
            if question.task == "presence":
                assert (" ".join(question.text.split()[3:5]) in named) == (question.answer == "yes")


def test_positions_spread_over_the_twelve_rows_and_columns():
    grid = make_grid(np.random.default_rng(0), 4, 3, EASY_MIX)
    assert sorted(set(grid.labels[:, 6])) == sorted(set(grid.labels[:, 7])) == [1, 4, 7, 10]


def test_quadrants_and_relations_agree_with_rows_and_columns():
    for seed in range(20):
        grid = make_grid(np.random.default_rng(seed), 6, 5, HARD_MIX)
        where = {}
        for kind, colour, _, _, _, centre, row, column in grid.labels:
            if centre and colour >= 0:
                where.setdefault(f"{list(COLOURS)[colour]} {KINDS[kind]}", (row, column))
        for question in grid.questions:
            if question.task == "quadrant":
                row, column = where[" ".join(question.text.rstrip("?").split()[3:5])]
                corner = f"{'top' if row < 6 else 'bottom'} {'left' if column < 6 else 'right'}"
                assert question.answer == corner
            if question.task == "relation":
                words = question.text.rstrip("?").split()
                (row_a, column_a), (row_b, column_b) = where[" ".join(words[2:4])], where[" ".join(words[-2:])]
                true = column_a < column_b if question.detail == "left of" else row_a < row_b
                assert question.answer == ("yes" if true else "no")
                assert question.detail not in LATER_RELATIONS
