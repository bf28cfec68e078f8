"""True labels of visual tokens: what each patch of thumbnail and crops shows.

The labels are read from the scene's owner map, which says to which object each pixel belongs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from todre.scenes import Scene, SceneObject
from todre.scenes.vocabulary import COLOURS, DIGITS, PATTERNS, SHAPES, SIZES, WORDS
from todre.tiny.model import GRID, PATCH, TILE

Labels = NDArray[np.int64]

KINDS: tuple[str, ...] = ("background", *SHAPES, "digit", "word", "distractor")
GROUPS: dict[str, int] = {
    "kind": len(KINDS),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "digit": len(DIGITS),
    "word": len(WORDS),
    "centre": 2,
    "row": GRID,
    "column": GRID,
}
"""Label group → number of classes.

−1 marks a patch to which a group does not apply.
"""
NUM_FEATURES = sum(GROUPS.values())
FEATURE_NAMES: tuple[str, ...] = (
    *KINDS,
    *COLOURS,
    *SIZES,
    *DIGITS,
    *WORDS,
    *("off centre", "centre"),
    *(f"row {row}" for row in range(GRID)),
    *(f"column {column}" for column in range(GRID)),
)
"""Names of the NUM_FEATURES entries that `one_hot` makes, in order."""
NAMED_FEATURES: tuple[int, ...] = tuple(FEATURE_NAMES.index(name) for name in (*SHAPES, *COLOURS))
"""Indices of the features that questions name: shapes and colours."""
OTHER_FEATURES: tuple[int, ...] = tuple(
    index for index, name in enumerate(FEATURE_NAMES) if name in SIZES or name.split()[-1] == "centre" or "row " in name
) + tuple(index for index, name in enumerate(FEATURE_NAMES) if "column " in name)
"""Indices of the features for an object's size and its patch's place."""
PRESENCE: tuple[str, ...] = (
    *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    *(f"digit {digit}" for digit in DIGITS),
    *(f"word {word}" for word in WORDS),
    *(f"distractor {pattern}" for pattern in PATTERNS),
)
"""Classes of objects whose presence in a tile [CLS] is trained to tell."""

_MIN_SHARE = 0.12
_MAX_OBJECTS = 32


def object_table(objects: Sequence[SceneObject]) -> Labels:
    """(1 + objects, 5) classes of kind, colour, size, digit and word of each object.

    Row 0 is the background; −1 marks a group that does not apply.
    """
    rows = [[0, -1, -1, -1, -1]]
    for thing in objects:
        kind = thing.shape if thing.kind == "shape" else thing.kind
        rows.append(
            [
                KINDS.index(kind),
                list(COLOURS).index(thing.colour) if thing.colour else -1,
                list(SIZES).index(thing.size) if thing.size else -1,
                DIGITS.index(thing.text) if thing.kind == "digit" else -1,
                WORDS.index(thing.text) if thing.kind == "word" else -1,
            ]
        )
    return np.array(rows, dtype=np.int64)


def patch_owners(owners: NDArray[np.uint8], rows: int, columns: int) -> Labels:
    """(rows, columns) owner of each cell: an object's number from 1, or 0 for none.

    The owner is the object with most pixels in the cell, if it has at least 12 % of the cell.

    Args:
        owners: (height, width) uint8 owner of each pixel, 0 for the background.
        rows, columns: numbers of cells that the picture is cut into.
    """
    height, width = owners.shape
    cell = (np.arange(height) * rows // height)[:, None] * columns + np.arange(width) * columns // width
    counts = np.bincount((cell * _MAX_OBJECTS + owners).ravel(), minlength=rows * columns * _MAX_OBJECTS)
    counts = counts.reshape(rows * columns, _MAX_OBJECTS)
    best = counts[:, 1:].argmax(axis=1) + 1
    enough = counts[np.arange(len(best)), best] >= _MIN_SHARE * counts.sum(axis=1)
    return np.where(enough, best, 0).reshape(rows, columns)


def grid_labels(scene: Scene, rows: int, columns: int) -> Labels:
    """(rows, columns, 8) classes of the cells of a grid over the whole picture.

    The classes are in the order of `GROUPS`.
    """
    width, height = scene.size
    owners = patch_owners(scene.owners, rows, columns)
    centres = np.zeros((rows, columns), dtype=np.int64)
    for thing in scene.objects:
        centres[int(thing.y * rows / height), int(thing.x * columns / width)] = 1
    row, column = np.mgrid[0:rows, 0:columns] % GRID
    return np.concatenate([object_table(scene.objects)[owners], np.stack([centres, row, column], axis=-1)], axis=-1)


def fine_labels(scene: Scene) -> Labels:
    """(rows, columns, 8) labels of all crops' patches together, without padding.

    Row and column labels count within a crop. The picture's sides must be multiples of 16 and at most 192 pixels, so
    that patches and pixels line up.
    """
    width, height = scene.size
    fine = grid_labels(scene, height // PATCH, width // PATCH)
    top, left = _padding(height), _padding(width)
    row, column = np.mgrid[top : top + fine.shape[0], left : left + fine.shape[1]] % GRID
    fine[..., 6], fine[..., 7] = row, column
    return fine


def _padding(side: int) -> int:
    """Patches of padding before the picture, along an axis of `side` pixels."""
    return (-(-side // TILE) * GRID - side // PATCH) // 2


def thumbnail_labels(scene: Scene) -> Labels:
    """(144, 8) labels of the thumbnail's patches."""
    return grid_labels(scene, GRID, GRID).reshape(GRID * GRID, -1)


def tile_labels(scene: Scene) -> Labels:
    """(1 + crops, 144, 8) labels of the thumbnail and of each crop.

    Crops are cut as the image processor cuts them, padding included.
    """
    width, height = scene.size
    across, down = -(-width // TILE), -(-height // TILE)
    fine = fine_labels(scene)
    canvas = np.full((down * GRID, across * GRID, fine.shape[-1]), -1, dtype=np.int64)
    canvas[..., 0] = canvas[..., 5] = 0
    canvas[..., 6], canvas[..., 7] = np.mgrid[0 : down * GRID, 0 : across * GRID] % GRID
    top, left = _padding(height), _padding(width)
    canvas[top : top + fine.shape[0], left : left + fine.shape[1]] = fine
    crops = (
        canvas.reshape(down, GRID, across, GRID, -1).transpose(0, 2, 1, 3, 4).reshape(down * across, GRID * GRID, -1)
    )
    return np.concatenate([thumbnail_labels(scene)[None], crops])


def tile_presence(scene: Scene) -> NDArray[np.float32]:
    """(1 + crops, len(PRESENCE)) float32, 1 where a tile holds an object of the class.

    A crop holds an object if the object's centre lies in it; the thumbnail holds all objects.
    """
    width, height = scene.size
    across, down = -(-width // TILE), -(-height // TILE)
    left, top = (across * TILE - width) / 2, (down * TILE - height) / 2
    present = np.zeros((1 + across * down, len(PRESENCE)), dtype=np.float32)
    for thing in scene.objects:
        name = thing.name if thing.kind == "shape" else f"{thing.kind} {thing.text}"
        crop = int((thing.y + top) // TILE) * across + int((thing.x + left) // TILE)
        present[[0, 1 + crop], PRESENCE.index(name)] = 1.0
    return present


def one_hot(labels: Labels) -> NDArray[np.float32]:
    """Labels as zeros and ones; a group with −1 is all zeros.

    Args:
        labels: (…, 8) classes in the order of `GROUPS`.

    Returns:
        (…, NUM_FEATURES) float32.
    """
    parts = []
    for index, classes in enumerate(GROUPS.values()):
        parts.append((labels[..., index, None] == np.arange(classes)).astype(np.float32))
    return np.concatenate(parts, axis=-1)
