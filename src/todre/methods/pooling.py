"""Pooling: means over an even grid of cells, a control that ignores the content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class Pooling(Method):
    """Replace visual tokens by the means of the cells of an even grid.

    A common baseline without a paper. Each kept token is one cell. A thumbnail, the united crops of a picture, or a
    frame gets h′ × w′ cells of adaptive average pooling, with h′·w′ the number it keeps and cells as square as
    possible. Where no factorisation is closer than 2 to 1, rows of cells differ by one cell. The token nearest a cell's
    centre takes the cell's mean.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count; equal fractions for each raster, by
            largest remainder. Newline tokens come last.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1

    name: ClassVar[str] = "pooling"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "means over an even grid of cells: the control that merges"
    card: ClassVar[Card] = Card(
        acts=("select",),
        follows="No paper. Pools projected embeddings; exact for every count, also where it has no factors; where no "
        "full raster is known the sequence is pooled.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request the place of each token."""
        from todre.tensors.token_facts import Signal

        return (Signal("grid"),)

    def select(self, visual: VisualTokens) -> Selection:
        """Keep one token for each cell, with the cell's mean."""
        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import newlines_last, sheets
        from todre.methods.views.visual_tokens import Selection

        keep, room = newlines_last(visual, budget(self.retain, len(visual)))
        embeddings = visual.embeddings.clone()
        found = sheets(visual)
        for sheet, share in zip(found, shares(room, [len(sheet) for sheet in found]), strict=True):
            raster = _raster(visual, sheet)
            for cell, centre in cells(raster.shape[0], raster.shape[1], share):
                top, bottom, left, right = cell
                members = raster[top:bottom, left:right].flatten()
                seat = raster[centre]
                keep[seat] = True
                embeddings[seat] = visual.embeddings[members].float().mean(dim=0).to(embeddings.dtype)
        return Selection(keep, embeddings)


def cells(rows: int, columns: int, count: int) -> list[tuple[tuple[int, int, int, int], tuple[int, int]]]:
    """Bounds and centres of `count` cells that cover a raster.

    Rows of cells, and cells in a row, are bounded as in adaptive average pooling. Rows differ by one cell where `count`
    does not divide evenly.

    Returns:
        For each cell its bounds (top, bottom, left, right), ends excluded, and the (row, column) of its centre.
    """
    from todre.methods.shared.grouping import spaced

    if not count:
        return []
    lines = _lines(rows, columns, count)
    longer = set(spaced(lines, count % lines))
    found = []
    for line, (top, bottom) in enumerate(_bounds(rows, lines)):
        across = count // lines + (line in longer)
        down = spaced(rows, lines)[line]
        for (left, right), middle in zip(_bounds(columns, across), spaced(columns, across), strict=True):
            found.append(((top, bottom, left, right), (down, middle)))
    return found


def _lines(rows: int, columns: int, count: int) -> int:
    """Number of rows of cells.

    The number divides `count` if the cells are then at most twice as long as wide.
    """
    fitting = range(-(-count // columns), min(rows, count) + 1)

    def skew(lines: int) -> float:
        ratio = lines * lines * columns / (count * rows)
        return max(ratio, 1 / ratio)

    even = [lines for lines in fitting if count % lines == 0 and skew(lines) <= 2]
    return min(even or fitting, key=lambda lines: (skew(lines), lines))


def _bounds(length: int, parts: int) -> list[tuple[int, int]]:
    """Start and end of each part of adaptive average pooling; parts may overlap."""
    return [(part * length // parts, -(-(part + 1) * length // parts)) for part in range(parts)]


def _raster(visual: VisualTokens, sheet: Tensor) -> Tensor:
    """The tokens of a sheet by place, (rows, columns).

    Tokens that do not fill a raster form a single row.
    """
    row, column = visual.row[sheet] - visual.row[sheet].min(), visual.column[sheet] - visual.column[sheet].min()
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    place = row * columns + column
    if rows * columns != len(sheet) or len(place.unique()) != len(sheet) or bool((visual.row[sheet] < 0).any()):
        return sheet[None]
    return sheet[place.argsort()].view(rows, columns)
