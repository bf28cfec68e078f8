"""A strip over budgets: where answers change as fewer visual tokens stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from todre.loading.model import Loaded
from todre.page.answering import has_budget, outcome
from todre.page.wish import Wish
from todre.running import Answer, Media

BUDGETS = (0.5, 0.25, 0.1, 0.05, 0.02)
"""Shares of the visual tokens, from many to few."""
WHOLE = "none"
"""The method that prunes nothing."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An answer at a budget.

    Attributes:
        method: the method's name.
        share: the budget; None for the model without pruning, and for a method that has a budget of its own.
        text: the answer, or why there is none.
        kept: visual tokens that entered the decoder; None where there is no answer.
        mean: visual tokens in the mean over the decoder's layers; None where there is no answer.
        cut: tokens after which the answer was cut; None where it ended by itself.
    """

    method: str
    share: float | None
    text: str
    kept: int | None
    mean: float | None = None
    cut: int | None = None

    @staticmethod
    def of(name: str, share: float | None, answered: Answer) -> Cell:
        """The cell of an answer."""
        layers = answered.report.visual_tokens_per_layer[0]
        return Cell(
            method=name,
            share=share,
            text=answered.text,
            kept=answered.report.visual_tokens_after[0],
            mean=sum(layers) / len(layers),
            cut=answered.new_tokens if answered.ended == "length" else None,
        )

    @property
    def tokens(self) -> str:
        """Its visual tokens, and where it was cut, in words."""
        mean = "" if self.mean is None else f", {self.mean:.0f} in the mean over its layers"
        return f"{self.kept} visual tokens entered the decoder{mean}{self.ending}"

    @property
    def ending(self) -> str:
        """Where it was cut, the end of a list; empty where it was not."""
        return "" if self.cut is None else f", cut after {self.cut} tokens"


def walk(loaded: Loaded, picture: Media, wish: Wish, give: Callable[[Any], None], ended: Callable[[], bool]) -> None:
    """Answer without pruning, then under each method at each budget.

    A method that cannot be told how much to keep answers once, with its own budget.

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        wish: what is asked; its share is not used.
        give: called with a `Cell` for each answer.
        ended: asked after each token; once True, nothing further is given.
    """
    steps: list[tuple[str, float | None]] = [(WHOLE, None)]
    for name in wish.methods:
        if name != WHOLE:
            steps += [(name, share) for share in (BUDGETS if has_budget(name) else (None,))]
    for name, share in steps:
        chosen = 0, name, 1.0 if share is None else share
        found = outcome(loaded, picture, wish.question, chosen, lambda begun: None, ended)
        if ended():
            return
        if found.answer is None:
            give(Cell(method=name, share=share, text=found.refusal, kept=None))
        else:
            give(Cell.of(name, share, found.answer))


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
        mine = [cell for cell in cells[1:] if cell.method == name]
        rows += f'<tr><th scope="row">{escape(name)}</th>{_row(mine, whole)}'
        rows += f"<td>{escape(changes(whole, mine))}</td></tr>"
    counts = "" if whole.kept is None else f" ({whole.kept} visual tokens{whole.ending})"
    return (
        f'<p>Without pruning: <b class="todre-answer">{escape(whole.text) or "(nothing)"}</b>{counts}</p>'
        f'<div class="todre-wide"><table class="todre-strip"><tr><th scope="col">keeps</th>{heads}'
        f'<th scope="col">the answer changes</th></tr>{rows}</table></div>{_legend(cells)}'
    )


def changes(whole: Cell, cells: Sequence[Cell]) -> str:
    """Where a method's answer first differs from the unpruned one, in words.

    Args:
        whole: the unpruned answer.
        cells: of one method, from many tokens to few.
    """
    answers = [cell for cell in cells if cell.kept is not None]
    if not answers:
        return "does not apply"
    first = next((cell for cell in answers if cell.text != whole.text), None)
    if answers[0].share is None:
        return "not with its own budget" if first is None else "with its own budget"
    if first is not None and first.share is not None:
        return f"first at {100 * first.share:g} %"
    return "not so far" if len(cells) < len(BUDGETS) else "at none of these"


def _row(cells: Sequence[Cell], whole: Cell) -> str:
    """The cells of one method; a single wide one where it has a budget of its own."""
    if cells[0].share is None:
        return _cell(cells[0], whole, f' colspan="{len(BUDGETS)}"', "own budget: ")
    mine = {cell.share: cell for cell in cells}
    return "".join(_cell(mine[share], whole) if share in mine else "<td>…</td>" for share in BUDGETS)


def _cell(cell: Cell, whole: Cell, span: str = "", before: str = "") -> str:
    if cell.kept is None:
        return f'<td{span} title="{escape(cell.text)}">does not apply</td>'
    same = cell.text == whole.text
    look, mark = ("todre-same", "=") if same else ("todre-changed", "≠")
    said = (escape(cell.text) or "(nothing)") + " (cut)" * (cell.cut is not None)
    return f'<td{span} class="{look}" title="{cell.tokens}">{before}{mark} {said}</td>'


def _legend(cells: Sequence[Cell]) -> str:
    """What the marks mean."""
    if len(cells) == 1:
        return ""
    words = "=: the answer without pruning. ≠: another one."
    if any(cell.cut is not None for cell in cells):
        words += " (cut): the answer was longer than it may be here; = says that it is the same as far as it goes."
    return f'<p class="todre-keys">{words}</p>'
