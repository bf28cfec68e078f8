"""Rows of merged patches at the picture's own aspect ratio.

Pixtral (Agrawal et al., 2024) rounds each side up to whole tokens: a token is one patch in Pixtral, and 2 × 2 merged
patches in Mistral 3. The tokens that end a row or the picture are text, which the model does not replace. Gemma 4
rounds each side down so that the tokens fit a budget. Kimi pads the right and lower edge up to whole tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from todre.errors import UnsupportedInputError
from todre.geometry.boxes import ClipShape, Picture, TokenBox, View
from todre.geometry.canvases import rule_of
from todre.geometry.grid import Fact, patch
from todre.geometry.sizes import Size, whole_cells
from todre.geometry.source import Layout, Settings, Source
from todre.geometry.steps import blank, square
from todre.hf.picture_rules import ChannelDimension, size_in_patches

Scaling = Callable[[View, Settings, int], View]
"""(original picture, settings, side of a cell) → the raster that the tower sees."""


def round_up(view: View, settings: Settings, cell: int) -> View:
    """Pixtral: the picture shrunk to fit `size`, then rounded up to whole cells."""
    size = dict(settings.size)
    limit = size.get("longest_edge") or (size["height"], size["width"])
    height, width = size_in_patches(blank(view), limit, cell, ChannelDimension.FIRST)
    return view.resized(width, height)


def within_tokens(view: View, settings: Settings, cell: int) -> View:
    """Gemma 4: scaled to at most `max_soft_tokens`, sides rounded down to cells."""
    kernel = int(settings.pooling_kernel_size)
    try:
        height, width = rule_of(settings, "get_aspect_ratio_preserving_size")(
            view.height, view.width, int(settings.patch_size), int(settings.max_soft_tokens) * kernel**2, kernel
        )
    except ValueError as error:
        raise UnsupportedInputError(
            f"The processor cannot scale {view.width} × {view.height} pixels ({error}); give a less narrow picture."
        ) from error
    return view.resized(width, height)


def pad_up(view: View, settings: Settings, cell: int) -> View:
    """Kimi: the picture shrunk if it has too many patches, then padded to cells.

    Padding is on the right and below, up to whole cells.
    """
    resize = rule_of(settings, "navit_resize")
    limits = int(settings.max_patches), int(dict(settings.size)["max_height"])
    inner, outer = resize(view.height, view.width, int(settings.patch_size), int(settings.merge_size), *limits)
    return view.resized(inner[1], inner[0]).shifted(outer[1], outer[0], 0, 0)


def merged_patch(source: Source) -> int:
    """Pixels along one side of `spatial_merge_size` patches.

    Where the config has no such setting, a cell is one patch.
    """
    return patch(source) * int(getattr(source.config, "spatial_merge_size", 1))


def kernel_patch(source: Source) -> int:
    """Pixels along one side of the patches that the tower merges before the projector."""
    return patch(source) * square(list(source.config.vision_config.merge_kernel_size))


@dataclass(frozen=True)
class Rows(Layout):
    """Layout of cells in reading order, at the picture's own aspect ratio.

    Attributes:
        cell: pixels of the processed picture along one side of a token.
        scaling: rule by which the picture, or each frame, is scaled.
        clips: whether the family reads clips, whose frames follow each other.
    """

    cell: Fact = merged_patch
    scaling: Scaling = round_up
    clips: bool = False

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the picture's rows."""
        return self._cells(source, source.view, source.images)

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of the picture's cells."""
        return self._scaled(source, source.view, source.images).count(self.cell(source))

    def smaller(self, source: Source, picture: Picture) -> Iterator[Size]:
        """Sizes of whole cells; within its bounds the processor keeps them."""
        return whole_cells(picture.width, picture.height, self.cell(source))

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of each frame's rows in turn."""
        if not self.clips:
            return super().clip(source, clip)
        boxes = []
        for frame in range(clip.frames):
            boxes += self._cells(source, source.view.at(frame), source.videos)
        return boxes

    def _cells(self, source: Source, view: View, settings: Settings) -> list[TokenBox]:
        return self._scaled(source, view, settings).cells("grid", self.cell(source))

    def _scaled(self, source: Source, view: View, settings: Settings) -> View:
        """The raster that the tower sees."""
        return self.scaling(view, settings, self.cell(source)) if settings.get("do_resize", True) else view
