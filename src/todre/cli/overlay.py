"""Pictures and frames with the kept tokens of answers drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from todre.clips import Clip
from todre.errors import UnsupportedModelError
from todre.geometry import ClipShape, TokenBox, visual_token_boxes
from todre.loading.model import Loaded
from todre.plots.contact_sheet import Sheet, contact_sheet_figure
from todre.plots.kept_tokens import Row, kept_tokens_figure
from todre.plots.marks import Panel, save_figure
from todre.running import Answer, Media

Answers = Sequence[tuple[str, Answer]]
"""(method's name, answer) pairs, all for one prompt."""


def boxes_of(loaded: Loaded, media: Sequence[Media]) -> list[TokenBox]:
    """The place of each visual token of the prompt.

    Raises:
        UnsupportedModelError: the places are not known for this model.
    """
    shapes = [ClipShape(*one.size, len(one)) if isinstance(one, Clip) else one.size for one in media]
    return visual_token_boxes(loaded.processor, loaded.model.config, shapes)


def row_of_image(loaded: Loaded, media: Sequence[Media], answers: Answers, index: int, caption: str = "") -> Row:
    """The row of the picture at `index` (0-based): one panel for each answer.

    `caption` stands in every panel; without a caption, the question does.
    """
    picture = media[index]
    if isinstance(picture, Clip):
        raise TypeError("a row shows one picture; make a sheet of a clip")
    boxes, panels = _panels(boxes_of(loaded, media), answers, index)
    return Row(picture, boxes, panels, caption or _question(answers))


def sheet_of(loaded: Loaded, media: Sequence[Media], answers: Answers, index: int, caption: str = "") -> Sheet:
    """The contact sheet of medium `index` (0-based); a picture's has one frame.

    `caption` stands over every panel; without a caption, the question does.
    """
    caption = caption or _question(answers)
    boxes, panels = _panels(boxes_of(loaded, media), answers, index)
    medium = media[index]
    if isinstance(medium, Clip):
        return Sheet(medium.frames, medium.timestamps, boxes, panels, caption)
    return Sheet([medium], (), boxes, panels, caption)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Draw the rows into a file."""
    save_figure(kept_tokens_figure(rows), path)


def write_media(loaded: Loaded, media: Sequence[Media], answers: Answers, path: Path) -> None:
    """Draw a prompt's media into a file: rows, or sheets if any medium is a clip."""
    places = range(len(media))
    if any(isinstance(medium, Clip) for medium in media):
        save_figure(contact_sheet_figure([sheet_of(loaded, media, answers, index) for index in places]), path)
    else:
        write_rows([row_of_image(loaded, media, answers, index) for index in places], path)


def _panels(boxes: Sequence[TokenBox], answers: Answers, index: int) -> tuple[list[TokenBox], list[Panel]]:
    """The boxes of medium `index`, and one panel for each answer.

    Indices in a panel's `kept` count from 0 within the medium's boxes.
    """
    places = [place for place, box in enumerate(boxes) if box.image == index]
    within = {place: number for number, place in enumerate(places)}
    panels = []
    for name, answer in answers:
        if answer.shown.visual_tokens:
            tokens = answer.shown.visual_tokens[index], answer.shown.before[index]
            panels.append(Panel(name, _lines(answer, *tokens), [], answer.shown.pictures[index]))
            continue
        count = answer.report.visual_tokens_before[0]
        if count != len(boxes):
            raise UnsupportedModelError(
                f"The model saw {count} visual tokens, and the places of {len(boxes)} are known, "
                "so they cannot be drawn; ask for no picture."
            )
        inside = [within[place] for place in answer.report.survivors(0) if place in within]
        panels.append(Panel(name, _lines(answer, len(inside), len(places)), inside))
    return [boxes[place] for place in places], panels


def _question(answers: Answers) -> str:
    """The question that all answers share."""
    return answers[0][1].question if answers else ""


def _lines(answer: Answer, kept: int, total: int) -> tuple[str, ...]:
    counts = f"{kept} of {total} visual tokens"
    layer = answer.report.dropped_after_layer[0]
    if layer is not None:
        counts += f", none after layer {layer} of {answer.report.n_layers}"
    return counts, f"“{answer.text}”"
