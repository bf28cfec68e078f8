"""What the page does for a visitor.

Each handler turns values of the page into values for it. Errors become one sentence on the page. Gradio calls a handler
on a thread of its own.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from todre.clips import Clip, is_clip
from todre.errors import InvalidValueError, TodreError
from todre.files import printable
from todre.loading.model import Loaded
from todre.page import cards, copies, svg
from todre.page.answering import Begun, Outcome, answer_all, record
from todre.page.attention import attention
from todre.page.budgets import Cell, strip, walk
from todre.page.clips import open_own, still, takes_clips
from todre.page.copies import Kind, Running
from todre.page.desk import Desk, Ended, Give
from todre.page.examples import example
from todre.page.notices import Note, Notices
from todre.page.wish import MOST_METHODS, Wish, asks, check_frames, share_of
from todre.running import Media

Values = tuple[Any, ...]


class Handlers:
    """The handlers of a page.

    Args:
        loaded: the model that all visitors share.
        running: how it was loaded.
        notices: tells warnings to visitors, while it hears them.
    """

    def __init__(self, loaded: Loaded, running: Running, notices: Notices) -> None:
        self._loaded, self._running, self._notices, self._desk = loaded, running, notices, Desk()
        self.clips = takes_clips(loaded)

    def restore(self, request: gr.Request) -> Values:
        """Values for a page that is opened.

        They are question, methods, percent, example, preview, and whether to ask.
        """
        parameters = dict(request.query_params)
        try:
            wish = Wish.of_query(parameters)
        except TodreError as error:
            gr.Warning(escape(str(error)), title="This link")
            wish, parameters = Wish(), {}
        chosen = wish.picture or None
        shown = svg.plain_picture(example(chosen).open(), chosen) if chosen else ""
        return wish.question, list(wish.methods), 100 * wish.share, chosen, shown, bool(chosen) and asks(parameters)

    def choose(self, name: str | None) -> Values:
        """Values after an example is chosen: file, preview, question."""
        if not name:
            return gr.skip(), gr.skip(), gr.skip()
        with _sentences():
            chosen = example(name)
            return None, svg.plain_picture(chosen.open(), name), chosen.question

    def drop(self, file: str | None, frames: float | None) -> Values:
        """Values after a file is dropped or the number of frames changed.

        They are file, example and preview.

        A file that cannot be read is put away, so that what is shown is what is asked about.
        """
        if not file or frames is None:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            medium, notes = open_own(self._loaded, self._notices, file, check_frames(frames))
        except TodreError as error:
            gr.Warning(escape(str(error)), title="This file")
            return None, gr.skip(), gr.skip()
        for note in notes:
            gr.Warning(escape(note), title="This file")
        return gr.skip(), None, svg.plain_picture(still(medium), Path(file).name)

    def ask(self, *values: Any) -> Iterator[list[Any]]:
        """Answer; yields the cards, then notes, record, command, Python and link.

        Every time all values are yielded, because Gradio's page shows the latest of those that come together.

        Args:
            *values: question, methods, percent, example, file, frames, and Gradio's request.
        """
        *asked, request = values
        with _sentences():
            wish, picture, file, notes = self._wish(*asked)
            found: dict[int, Outcome] = {}
            shown = [cards.waiting(name, "") for name in wish.methods]
            yield _told(shown, notes)

            def work(give: Give, ended: Ended) -> None:
                with self._notices.to(give):
                    answer_all(self._loaded, picture, wish, give, ended)

            for one in self._desk.serve(_visitor(request), work):
                if isinstance(one, Note):
                    notes.append(one.text)
                elif isinstance(one, Begun):
                    shown[one.place] = cards.waiting(wish.methods[one.place], one.text)
                elif isinstance(one, Outcome):
                    found[one.place] = one
                    shown[one.place] = cards.card(self._loaded, picture, one)
                yield _told(shown, notes)
            if len(found) < len(wish.methods):
                left = [cards.stopped(name) if place not in found else shown[place] for place, name in
                        enumerate(wish.methods)]  # fmt: skip
                yield _told(left, notes)
                return
            document = record(wish.question, file, [found[place] for place in sorted(found)])
            text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
            kind = _kind(picture, asked[4])
            names = [found[place].name for place in sorted(found) if found[place].answer]
            copied = copies.copied(wish, names, self._running, file, kind)
            yield _told(shown, notes, text, *copied, _link(wish, request))

    def budgets(self, *values: Any) -> Iterator[str]:
        """Answer at each budget; yields the notes and the strip so far.

        `values` are those of `ask`.
        """
        *asked, request = values
        with _sentences():
            wish, picture, _, notes = self._wish(*asked)
            cells: list[Cell] = []

            def work(give: Give, ended: Ended) -> None:
                with self._notices.to(give):
                    walk(self._loaded, picture, wish, give, ended)

            for one in self._desk.serve(_visitor(request), work):
                if isinstance(one, Note):
                    notes.append(one.text)
                elif isinstance(one, Cell):
                    cells.append(one)
                yield cards.noted(notes) + strip(cells)

    def attention(self, *values: Any) -> Iterator[str]:
        """Attention by layer, below the notes; `values` are those of `ask`."""
        *asked, request = values
        with _sentences():
            wish, picture, _, notes = self._wish(*asked)
            drawn = ""

            def work(give: Give, ended: Ended) -> None:
                with self._notices.to(give):
                    give(attention(self._loaded, picture, wish))

            for one in self._desk.serve(_visitor(request), work):
                if isinstance(one, Note):
                    notes.append(one.text)
                else:
                    drawn = one
                yield cards.noted(notes) + drawn

    def stop(self, request: gr.Request) -> None:
        """End what the visitor waits for."""
        if self._desk.stop(_visitor(request)):
            gr.Info("Stopped.")

    def leave(self, request: gr.Request) -> None:
        """End what the visitor waited for, since the page was closed."""
        self._desk.stop(_visitor(request))

    def _wish(
        self, question: str, methods: list[str], percent: float, chosen: str | None, file: str | None,
        frames: float | None,
    ) -> tuple[Wish, Media, str, list[str]]:  # fmt: skip
        """(what is asked, the picture, name of its file, what is to be said of it)."""
        if not file and not chosen:
            raise InvalidValueError("There is no picture; drop one, or choose an example.")
        picture = "" if file else chosen or ""
        wish = Wish(
            question=question or "",
            methods=tuple(methods or ()),
            share=share_of(percent),
            picture=picture,
            frames=check_frames(frames),
        )
        if not file:
            return wish, example(picture).open(), f"{picture}.png", []
        medium, notes = open_own(self._loaded, self._notices, file, wish.frames)
        return wish, medium, Path(file).name, notes


def _told(shown: list[str], notes: list[str], *copied: str) -> list[Any]:
    """All values of an answer: cards, notes, and what can be copied."""
    slots = [gr.update(value=card, visible=True) for card in shown]
    slots += [gr.update(value="", visible=False)] * (MOST_METHODS - len(shown))
    return [*slots, gr.update(value="\n".join(notes), visible=bool(notes)), *(copied or [""] * 4)]


def _kind(medium: Media, file: str | None) -> Kind:
    """What kind of clip was asked about, if it was one."""
    if file is None or not isinstance(medium, Clip):
        return ""
    return "video" if is_clip(file) else "animation"


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def _link(wish: Wish, request: gr.Request) -> str:
    """A link to the request, at the address by which the visitor came."""
    base = str(request.headers.get("referer") or request.headers.get("origin") or "").partition("?")[0]
    return f"{base.rstrip('/')}/?{wish.query()}"


@contextmanager
def _sentences() -> Iterator[None]:
    """Show whatever is raised inside the block as one sentence on the page."""
    try:
        yield
    except gr.Error:
        raise
    except TodreError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from error
    except Exception as error:
        traceback.print_exc()
        text = escape(printable(" ".join(str(error).split()).rstrip(".") or "no message", 300))
        raise gr.Error(
            f"Unexpected {type(error).__name__} ({text}); the terminal of `todre page` shows where it came from.",
            print_exception=False,
        ) from error
