"""Square windows of neighbouring visual tokens of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from todre.errors import InvalidValueError
from todre.geometry import TokenBox


def windows_of(boxes: Sequence[TokenBox], side: int) -> list[list[int]]:
    """0-based indices of visual tokens in windows of `side` × `side` neighbours.

    Every token is in exactly one window.

    The thumbnail, the joined crops of a picture, and each frame of a clip are cut into windows separately. Windows at a
    right or lower edge may hold fewer tokens. All newline tokens of one picture make one window, and so does each class
    token.

    Args:
        boxes: the rectangles of the tokens, in sequence order.
        side: side of a window in tokens; 1 puts every token into a window of its own.

    Raises:
        InvalidValueError: a side below 1.
    """
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise InvalidValueError(f"A window has a side of at least 1 token, not {side!r}.")
    places = sorted(range(len(boxes)), key=lambda index: (_sheet(boxes[index]), index))
    windows: list[list[int]] = []
    for sheet, members in groupby(places, key=lambda index: _sheet(boxes[index])):
        tokens = list(members)
        windows += [tokens] if sheet[1] == "newline" else _cut(boxes, tokens, side)
    return windows


def _sheet(box: TokenBox) -> tuple[int, str, int]:
    return box.image, box.kind, -1 if box.frame is None or box.kind == "newline" else box.frame


def _cut(boxes: Sequence[TokenBox], tokens: Sequence[int], side: int) -> list[list[int]]:
    """Windows of one raster of tokens, in reading order.

    Each token's row and column follow from its rectangle.
    """
    rows = _numbered([boxes[index].top for index in tokens])
    columns = _numbered([boxes[index].left for index in tokens])
    found: dict[tuple[int, int], list[int]] = {}
    for index, row, column in zip(tokens, rows, columns, strict=True):
        found.setdefault((row // side, column // side), []).append(index)
    return [found[place] for place in sorted(found)]


def _numbered(edges: Sequence[float]) -> list[int]:
    """0-based rank of each edge among the distinct ones, rounded to 0.001 pixel."""
    order = {edge: number for number, edge in enumerate(sorted({round(edge, 3) for edge in edges}))}
    return [order[round(edge, 3)] for edge in edges]
