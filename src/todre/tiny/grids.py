"""Small symbolic pictures for the decoder's first minutes of training.

A picture is a grid of a few labelled cells; it has no pixels and no crops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from todre.scenes import Question, SceneObject, ask
from todre.scenes.vocabulary import COLOURS, DIGITS, SHAPES, WORDS
from todre.tiny.labels import Labels, object_table
from todre.tiny.model import GRID

SIDE = 192.0
LATER_RELATIONS = ("right of", "below")
"""Directions that questions about grids leave out.

Each of the other two directions takes one comparison.
"""
EASY_MIX: dict[str, int] = {"presence": 3, "colour": 2, "shape": 2, "size": 1, "quadrant": 1, "digit": 1, "word": 1}
HARD_MIX: dict[str, int] = {
    "presence": 2,
    "colour": 1,
    "shape": 1,
    "size": 1,
    "count": 3,
    "relation": 10,
    "quadrant": 1,
    "digit": 1,
    "word": 1,
    "caption": 1,
}


@dataclass(frozen=True)
class GridPicture:
    """A picture of side × side cells that exists as labels alone.

    Args:
        labels: (side², 8) classes in the order of `todre.tiny.labels.GROUPS`.
        questions: questions whose answers follow from the objects in the picture.
    """

    labels: Labels
    questions: list[Question]


def make_grid(rng: np.random.Generator, side: int, objects: int, mix: dict[str, int]) -> GridPicture:
    """A grid with shapes; half of the grids have a digit, and half have a word.

    Args:
        rng: decides where things stand and which questions are asked.
        side: number of cells along each side.
        objects: number of shapes.
        mix: task → number of questions.
    """
    cells = rng.permutation(side * side)
    kinds = ["shape"] * objects + ["digit"] * int(rng.random() < 0.5) + ["word"] * int(rng.random() < 0.5)
    things = [_thing(rng, kind, divmod(int(cell), side), side) for kind, cell in zip(kinds, cells, strict=False)]
    owners, centres = np.zeros((side, side), dtype=np.int64), np.zeros((side, side), dtype=np.int64)
    for index, cell in enumerate(cells[: len(things)]):
        owners.flat[cell] = index + 1
        centres.flat[cell] = 1
    for index, thing in enumerate(things):
        row, column = divmod(int(cells[index]), side)
        if thing.size != "small" and column + 1 < side and not owners[row, column + 1]:
            owners[row, column + 1] = index + 1
    where = (np.arange(side) * 2 + 1) * GRID // (2 * side)
    down, across = np.broadcast_to(where[:, None], (side, side)), np.broadcast_to(where, (side, side))
    labels = np.concatenate([object_table(things)[owners], np.stack([centres, down, across], axis=-1)], axis=-1)
    tasks = [task for task, times in mix.items() for _ in range(times)]
    questions = {q.text: q for q in ask(rng, things, tasks, int(SIDE), int(SIDE)) if q.detail not in LATER_RELATIONS}
    return GridPicture(labels.reshape(side * side, -1), list(questions.values()))


def _thing(rng: np.random.Generator, kind: str, cell: tuple[int, int], side: int) -> SceneObject:
    y, x = ((place + 0.5) * SIDE / side for place in cell)
    if kind != "shape":
        text = str(rng.choice(DIGITS if kind == "digit" else WORDS))
        return SceneObject(kind=kind, x=x, y=y, half_width=10, half_height=10, text=text)
    size = "small" if rng.random() < 0.5 else "large"
    colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
    return SceneObject(kind=kind, x=x, y=y, half_width=8, half_height=8, colour=colour, shape=shape, size=size)
