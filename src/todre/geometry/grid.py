"""One grid over a picture, and one over each frame: LLaVA-1.5 and its successors.

The processor scales (and pads or crops) the picture to one size; the tower makes a token of each patch. Where the
projector pools k × k patches, a token's cell is k patches wide: Gemma 3 averages them, InternVL and its kin stack them
("pixel shuffle").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from todre.geometry.boxes import ClipShape, Picture, TokenBox, View
from todre.geometry.source import Layout, Settings, Source
from todre.geometry.steps import look, resize_and_crop, square

Fact = Callable[[Source], int]
Look = Callable[[View, Settings], View]


def patch(source: Source) -> int:
    """Pixels along one side of a patch of the tower."""
    return square(source.config.vision_config.patch_size)


def processor_patch(source: Source) -> int:
    """Pixels along one side of a cell, as the processor states them.

    This rule is for towers that come from timm, whose config does not state them.
    """
    if source.processor is None:
        Layout().count(source)
    return int(source.processor.patch_size)


def none(source: Source) -> int:
    """The number of class tokens of families that have none: 0."""
    return 0


def class_tokens(source: Source) -> int:
    """How many class tokens stay among a picture's visual tokens.

    The processor says how many class tokens the tower makes, and whether one is dropped.
    """
    dropped = 1 if source.processor.vision_feature_select_strategy == "default" else 0
    return max(additional_tokens(source) - dropped, 0)


def additional_tokens(source: Source) -> int:
    """The number of class tokens, as the processor counts them."""
    return int(getattr(source.processor, "num_additional_image_tokens", 0))


@dataclass(frozen=True)
class FlatGrid(Layout):
    """Layout of one grid per picture, and per frame where the family reads clips.

    Attributes:
        cell: pixels of the processed picture along one side of a token.
        look: the steps of the image processor, applied to a view.
        classes: rule for the number of class tokens before each picture's grid.
        frame_classes: rule for the number of class tokens before each frame's grid; None for a family without clips.
    """

    cell: Fact = patch
    look: Look = look
    classes: Fact = none
    frame_classes: Fact | None = None

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the class tokens, then of the cells in reading order."""
        view = self.look(source.view, source.images)
        return [view.whole("class")] * self.classes(source) + view.cells("grid", self.cell(source))

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of class tokens and cells."""
        return self.classes(source) + self.look(source.view, source.images).count(self.cell(source))

    def count(self, source: Source) -> tuple[int, int]:
        """(visual tokens, tiles) of one grid; class tokens are not counted."""
        return (square(source.config.vision_config.image_size) // self.cell(source)) ** 2, 1

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of each frame in turn: class tokens, then cells in reading order."""
        if self.frame_classes is None:
            return super().clip(source, clip)
        return frame_grids(source, clip, self.cell(source), self.frame_classes(source))


def frame_grids(source: Source, clip: ClipShape, cell: int, classes: int = 0) -> list[TokenBox]:
    """Boxes of one grid for each frame, scaled as by the video processor."""
    boxes = []
    for frame in range(clip.frames):
        view = resize_and_crop(source.view.at(frame), source.videos)
        boxes += [view.whole("class")] * classes + view.cells("grid", cell)
    return boxes


def pooled_cell(ratio: str, *, of: str = "") -> Fact:
    """A rule for cells of `config.<of>.<ratio>` patches along one side."""

    def cell(source: Source) -> int:
        owner: Any = getattr(source.config, of) if of else source.config
        return patch(source) * int(getattr(owner, ratio))

    return cell


def shuffled_cell(ratio: str, *, of: str = "") -> Fact:
    """A rule for cells of 1 / `config.<of>.<ratio>` patches along one side.

    This rule is for configs that give the ratio as a share below one.
    """

    def cell(source: Source) -> int:
        owner: Any = getattr(source.config, of) if of else source.config
        return patch(source) * round(1 / float(getattr(owner, ratio)))

    return cell
