"""Uniform: evenly spaced tokens, a control that knows only where tokens stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class UniformGrid(Method):
    """Keep evenly spaced visual tokens.

    A common baseline without a paper. `line` takes the tokens ⌊(i + ½)·n/k⌋ of a sample's sequence (rounding to the
    nearest would take some twice). `grid` gives each sheet (a thumbnail, the united crops, a frame) as many tokens as
    the line would place there, on evenly spaced rows and evenly spaced columns. The number of rows makes the steps down
    and across as equal as possible. Rows differ by one token where the count does not factorise. In a grid, newline
    tokens come last.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count.
        spread: `grid` or `line`; a sheet whose rows and columns are unknown is treated as a line.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    spread: Literal["grid", "line"] = "grid"

    name: ClassVar[str] = "uniform"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "evenly spaced rows and columns: the control that sees nothing"
    card: ClassVar[Card] = Card(
        acts=("select",),
        follows="No paper. Exact for every count, also where it has no factors; where no raster is known the sequence "
        "is spaced.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request the place of each token, for `grid`."""
        from todre.tensors.token_facts import Signal

        return (Signal("grid"),) if self.spread == "grid" else ()

    def select(self, visual: VisualTokens) -> Tensor:
        """Space the budget over the line, or over each sheet."""
        import torch

        from todre.methods.shared.grouping import newlines_last, sheets, spaced

        n = len(visual)
        k = budget(self.retain, n)
        if self.spread == "line":
            keep = torch.zeros(n, dtype=torch.bool, device=visual.tile.device)
            keep[spaced(n, k)] = True
            return keep
        keep, room = newlines_last(visual, k)
        found = sheets(visual)
        sizes = torch.tensor([len(sheet) for sheet in found], dtype=torch.int64, device="cpu")
        owner = torch.arange(len(found), dtype=torch.int64, device="cpu").repeat_interleave(sizes)
        counts = owner[spaced(len(owner), room)].bincount(minlength=len(found)).tolist()
        for sheet, count in zip(found, counts, strict=True):
            keep[sheet[_lattice(visual.row[sheet].tolist(), visual.column[sheet].tolist(), count)]] = True
        return keep


def _lattice(row: list[int], column: list[int], count: int) -> list[int]:
    """Choose `count` of a sheet's tokens, on evenly spaced rows and columns.

    A sheet that is no full raster is treated as a line.
    """
    from todre.methods.shared.grouping import spaced

    place = {where: token for token, where in enumerate(zip(row, column, strict=True))}
    rows, columns = max(row) + 1, max(column) + 1
    full = min(row) == min(column) == 0 and len(place) == len(row) == rows * columns
    if not full or count == 0:
        return spaced(len(row), count)
    lines = min(
        range(-(-count // columns), min(rows, count) + 1),
        key=lambda lines: (_skew(lines * lines * columns, count * rows), lines),
    )
    longer = set(spaced(lines, count % lines))
    return [
        place[down, across]
        for line, down in enumerate(spaced(rows, lines))
        for across in spaced(columns, count // lines + (line in longer))
    ]


def _skew(a: int, b: int) -> float:
    """Ratio of two counts, larger over smaller."""
    return max(a / b, b / a)
