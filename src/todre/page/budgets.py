"""A strip over budgets: where answers change as fewer visual tokens stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from todre.loading.model import Loaded
from todre.page.answering import noted, outcome
from todre.page.wish import Wish
from todre.running import Media

BUDGETS = (0.5, 0.25, 0.1, 0.05, 0.02)
"""Shares of the visual tokens, from many to few."""
WHOLE = "none"
"""The method that prunes nothing."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An answer at a budget.

    Attributes:
        method: the method's name.
        share: the budget; None for the model without pruning.
        text: the answer, or why there is none.
        kept: visual tokens that entered the decoder; None where there is no answer.
    """

    method: str
    share: float | None
    text: str
    kept: int | None


def walk(loaded: Loaded, picture: Media, wish: Wish, give: Callable[[Any], None], ended: Callable[[], bool]) -> None:
    """Answer without pruning, then under each method at each budget.

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        wish: what is asked; its share is not used.
        give: called with a `Cell` for each answer, and with notes.
        ended: asked after each token; once True, nothing further is given.
    """
    with noted(give):
        steps: list[tuple[str, float | None]] = [(WHOLE, None)]
        steps += [(name, share) for name in wish.methods if name != WHOLE for share in BUDGETS]
        for name, share in steps:
            chosen = 0, name, 1.0 if share is None else share
            found = outcome(loaded, picture, wish.question, chosen, lambda begun: None, ended)
            if ended():
                return
            if found.answer is None:
                give(Cell(method=name, share=share, text=found.refusal, kept=None))
            else:
                kept = found.answer.report.visual_tokens_after[0]
                give(Cell(method=name, share=share, text=found.answer.text, kept=kept))


def strip(cells: Sequence[Cell]) -> str:
    """Table of the answers by method and budget.

    Those that differ from the unpruned answer are marked.

    Args:
        cells: what `walk` has given so far; the first is the unpruned answer.
    """
    if not cells:
        return ""
    whole = cells[0]
    heads = "".join(f'<th scope="col">{100 * share:g} %</th>' for share in BUDGETS)
    rows = ""
    for name in dict.fromkeys(cell.method for cell in cells[1:]):
        mine = {cell.share: cell for cell in cells[1:] if cell.method == name}
        rows += f'<tr><th scope="row">{escape(name)}</th>'
        rows += "".join(_cell(mine.get(share), whole) for share in BUDGETS)
        rows += f"<td>{escape(changes(whole, list(mine.values())))}</td></tr>"
    counts = "" if whole.kept is None else f" ({whole.kept} visual tokens)"
    return (
        f'<p>Without pruning: <b class="todre-answer">{escape(whole.text) or "(nothing)"}</b>{counts}</p>'
        f'<div class="todre-wide"><table class="todre-strip"><tr><th scope="col">keeps</th>{heads}'
        f'<th scope="col">the answer changes</th></tr>{rows}</table></div>'
    )


def changes(whole: Cell, cells: Sequence[Cell]) -> str:
    """Where a method's answer first differs from the unpruned one, in words.

    Args:
        whole: the unpruned answer.
        cells: of one method, from many tokens to few.
    """
    different = [cell.share for cell in cells if cell.kept is not None and cell.text != whole.text]
    if different and different[0] is not None:
        return f"first at {100 * different[0]:g} %"
    if all(cell.kept is None for cell in cells):
        return "does not apply"
    return "not so far" if len(cells) < len(BUDGETS) else "at none of these"


def _cell(cell: Cell | None, whole: Cell) -> str:
    if cell is None:
        return "<td>…</td>"
    if cell.kept is None:
        return f'<td title="{escape(cell.text)}">does not apply</td>'
    same = cell.text == whole.text
    look, mark = ("todre-same", "=") if same else ("todre-changed", "≠")
    said = escape(cell.text) or "(nothing)"
    return f'<td class="{look}" title="{cell.kept} visual tokens">{mark} {said}</td>'
