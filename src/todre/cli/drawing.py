"""From answers to the picture with the kept tokens over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from todre.geometry import visual_token_boxes
from todre.loading import Loaded
from todre.plots.kept_tokens import Panel, Row, kept_tokens_figure, save_figure
from todre.running import Answer


def row_of_image(
    loaded: Loaded, images: Sequence[Image.Image], answers: Sequence[tuple[str, Answer]], index: int, caption: str = ""
) -> Row:
    """The row of the `index`-th picture: one panel for each (method's name, answer)."""
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [image.size for image in images])
    places = [place for place, box in enumerate(boxes) if box.image == index]
    first = places[0]
    panels = []
    for name, given in answers:
        inside = [place - first for place in given.report.kept[0] if boxes[place].image == index]
        panels.append(Panel(name, _lines(given, len(inside), len(places)), inside))
    return Row(images[index], [boxes[place] for place in places], panels, caption)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Draw the rows into a file."""
    save_figure(kept_tokens_figure(rows), path)


def _lines(given: Answer, kept: int, total: int) -> tuple[str, ...]:
    counts = f"{kept} of {total} visual tokens"
    layer = given.report.dropped_after_layer[0]
    if layer is not None:
        counts += f", none after layer {layer} of {given.report.n_layers}"
    return counts, f"“{given.text}”"
