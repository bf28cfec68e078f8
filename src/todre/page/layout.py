"""The page's parts and what happens when they are used, in Gradio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from todre.methods import registry
from todre.page.budgets import BUDGETS
from todre.page.examples import EXAMPLES
from todre.page.handlers import Handlers
from todre.page.wish import FRAMES, LEAST_SHARE, MOST_FRAMES, MOST_METHODS, MOST_QUESTION, Wish

_PICTURE = "picture here (of a PDF or an animation, the first)"
MODEL = "model"
"""Name of the queue of everything that needs the model."""
_ON_TOKENS = """
element.addEventListener("click", (event) => {
  const token = event.target.closest("[data-say]");
  if (!token) return;
  element.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
  token.classList.add("chosen");
  element.querySelector(".todre-say").textContent = token.dataset.say;
});
"""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """What the question is about: examples, an own file, how many frames of a clip."""

    preview: Any
    example: Any
    file: Any
    frames: Any


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What is asked, by which methods, and the buttons."""

    text: Any
    methods: Any
    percent: Any
    ask: Any
    stop: Any
    over: Any
    look: Any


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """Where answers and measurements are shown."""

    notes: Any
    slots: list[Any]
    strip: Any
    layers: Any


@dataclass(frozen=True, kw_only=True)
class _Copies:
    """Boxes to copy from."""

    link: Any
    command: Any
    snippet: Any
    record: Any


def build(handlers: Handlers, title: str, caution: str) -> Any:
    """The page as Gradio's Blocks.

    Args:
        handlers: what it does.
        title: what the browser's tab says.
        caution: a sentence on what the model's answers are worth; may be empty.
    """
    wish = Wish()
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown(f"# {title}\nThe same question under several ways to leave out visual tokens. {caution}")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                picture = _picture(wish, handlers.clips)
            with gr.Column(scale=3, min_width=280):
                question = _question(wish)
        answers = _answers()
        _connect(page, handlers, picture, question, answers, _copies())
    return page


def _picture(wish: Wish, clips: bool) -> _Picture:
    """The column that says what is asked about."""
    preview = gr.HTML(label="Picture", elem_id="preview")
    example = gr.Radio([each.name for each in EXAMPLES], value=wish.picture, label="Example", elem_id="example")
    own = "picture or short clip here (of a PDF, the first)" if clips else _PICTURE
    file = gr.File(label=f"… or drop your own {own}", height=150, elem_id="file")
    frames = gr.Number(
        FRAMES, label="Frames taken of a clip", precision=0, minimum=1, maximum=MOST_FRAMES, visible=clips,
        elem_id="frames",
    )  # fmt: skip
    return _Picture(preview=preview, example=example, file=file, frames=frames)


def _question(wish: Wish) -> _Question:
    """The column that says what is asked, and how."""
    text = gr.Textbox(wish.question, label="Question", lines=2, max_length=MOST_QUESTION, elem_id="question")
    methods = gr.Dropdown(
        registry.names(), value=list(wish.methods), multiselect=True, max_choices=MOST_METHODS,
        label=f"Methods, side by side (up to {MOST_METHODS})", elem_id="methods",
    )  # fmt: skip
    percent = gr.Slider(
        100 * LEAST_SHARE, 100, 100 * wish.share, step=1, label="Visual tokens kept, in percent", elem_id="percent"
    )
    with gr.Row():
        ask = gr.Button("Ask", variant="primary", elem_id="ask", min_width=100)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=100)
    with gr.Row():
        over = gr.Button("Where does the answer change?", elem_id="budgets", min_width=140)
        look = gr.Button("Attention by layer", elem_id="attention", min_width=140)
    return _Question(text=text, methods=methods, percent=percent, ask=ask, stop=stop, over=over, look=look)


def _answers() -> _Answers:
    """The cards of the methods, and what stands under them."""
    notes = gr.Textbox(label="Notes", elem_id="notes", lines=1, max_lines=6, interactive=False, visible=False)
    with gr.Row(elem_id="cards"):
        slots = [
            gr.HTML(elem_id=f"card-{place}", js_on_load=_ON_TOKENS, min_width=240, visible=place == 0, padding=True)
            for place in range(MOST_METHODS)
        ]
    shown = ", ".join(f"{100 * share:g}" for share in BUDGETS)
    strip = gr.HTML(label=f"Answers at {shown} percent", show_label=True, elem_id="strip", padding=True)
    layers = gr.HTML(label="Attention by layer", show_label=True, elem_id="layers", padding=True)
    return _Answers(notes=notes, slots=slots, strip=strip, layers=layers)


def _connect(
    page: Any, handlers: Handlers, picture: _Picture, question: _Question, answers: _Answers, copies: _Copies
) -> None:
    """Say what happens when a part is used, within the page's context."""
    opened = gr.State(False)
    asked = [question.text, question.methods, question.percent, picture.example, picture.file, picture.frames]
    told = [*answers.slots, answers.notes, copies.record, copies.command, copies.snippet, copies.link]
    of_model: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": MODEL, "api_visibility": "private"}
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    answering, budgets, attention = map(_with_request, (handlers.ask, handlers.budgets, handlers.attention))
    begun = [question.ask.click(answering, asked, told, **of_model)]
    begun += [question.text.submit(answering, asked, told, **of_model)]
    begun += [question.over.click(budgets, asked, answers.strip, **of_model)]
    begun += [question.look.click(attention, asked, answers.layers, **of_model)]
    example, file, preview = picture.example, picture.file, picture.preview
    example.input(handlers.choose, example, [file, preview, question.text], **light)
    file.upload(handlers.drop, [file, picture.frames], [file, example, preview], **light)
    picture.frames.change(handlers.drop, [file, picture.frames], [file, example, preview], **light)
    restored = [question.text, question.methods, question.percent, example, preview, opened]
    first = page.load(handlers.restore, None, restored, **light)
    begun.append(first.then(_if_opened(handlers.ask), [opened, *asked], told, **of_model))
    question.stop.click(handlers.stop, None, None, cancels=begun, queue=False, **light)
    page.unload(handlers.leave)


def _copies() -> _Copies:
    """The boxes to copy from, folded away."""
    with gr.Accordion("Copy these settings", open=False):
        link = gr.Textbox(
            label="Link to this answer",
            info="Your own picture is not in it: a link cannot hold a picture.",
            buttons=["copy"], interactive=False, elem_id="link",
        )  # fmt: skip
        command = gr.Textbox(
            label="Shell, the same numbers but for the times", lines=2, buttons=["copy"], interactive=False,
            elem_id="command",
        )  # fmt: skip
        snippet = gr.Code(label="Python", language="python", interactive=False, elem_id="snippet")
    with gr.Accordion("Everything measured", open=False):
        record = gr.Textbox(
            label="The document of todre compare --json", lines=8, max_lines=20, buttons=["copy"], interactive=False,
            elem_id="record",
        )  # fmt: skip
    return _Copies(link=link, command=command, snippet=snippet, record=record)


def _with_request(handler: Any) -> Any:
    """A handler with a signature that tells Gradio to give its request."""

    def asking(question: str, methods: list[str], percent: float, chosen: str | None, file: str | None,
               frames: float | None, request: gr.Request) -> Any:  # fmt: skip
        yield from handler(question, methods, percent, chosen, file, frames, request)

    return asking


def _if_opened(answering: Any) -> Any:
    """The handler that answers a link at once, and does nothing without one."""

    def opening(opened: bool, question: str, methods: list[str], percent: float, chosen: str | None, file: str | None,
                frames: float | None, request: gr.Request) -> Any:  # fmt: skip
        if opened:
            yield from answering(question, methods, percent, chosen, file, frames, request)
        else:
            yield [gr.skip()] * (MOST_METHODS + 5)

    return opening
