"""Patches at the picture's own aspect ratio, merged 2 × 2: the Qwen2-VL family.

The processor scales the picture so that both sides are multiples of patch × merge and the area stays within bounds
(Wang et al., 2024). Each merged cell makes one visual token. Tokens are in reading order, whatever order the
tower works in. A clip's frames are grouped by `temporal_patch_size`, with the last frame repeated to fill the last
group, and a token covers one cell of one group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.geometry.boxes import ClipShape, Picture, TokenBox, View
from todre.geometry.grid import Fact
from todre.geometry.sizes import Size, whole_cells
from todre.geometry.source import Layout, Settings, Source
from todre.hf.picture_rules import size_of_strip, size_within_area, size_within_volume

Rule = Callable[[Settings, View, int], tuple[int, int]]
"""(settings, picture, number of frames) → (height, width) of the tower's raster."""


def by_area(settings: Settings, view: View, frames: int) -> tuple[int, int]:
    """Qwen2-VL: the area of one frame within bounds, however many frames."""
    least, most = _bounds(settings)
    if frames > 1 and settings.get("cap_pixels_per_frame", False):
        total = int(settings.max_video_tokens * _factor(settings) ** 2 * 0.9)
        most = max(min(most, total * settings.temporal_patch_size // frames), int(least * 1.05))
    return _area(settings, view, least, most)


def by_shared_area(settings: Settings, view: View, frames: int) -> tuple[int, int]:
    """VideoLLaMA 3: the area of all frames together within the upper bound."""
    least, most = _bounds(settings)
    return _area(settings, view, least, most // frames)


def by_volume(settings: Settings, view: View, frames: int) -> tuple[int, int]:
    """GLM-4V, and clips of Qwen3-VL: area times frames within bounds.

    A picture counts as one group of frames. Of a clip with fewer frames than a group, processing repeats the last.
    """
    least, most = _bounds(settings)
    frames = max(frames, int(settings.temporal_patch_size))
    if settings.get("cap_pixels_per_frame", False):
        tokens = settings.max_video_tokens * _factor(settings) ** 2
        most = frames * max(min(tokens, most // frames), int(least * 1.05))
    height, width = size_within_volume(
        frames,
        view.height,
        view.width,
        temporal_factor=settings.temporal_patch_size,
        factor=_factor(settings),
        min_pixels=least,
        max_pixels=most,
    )
    return height, width


def by_area_of_strips(settings: Settings, view: View, frames: int) -> tuple[int, int]:
    """PaddleOCR-VL: the area within bounds, for thin pictures as well.

    A picture thinner than one cell is first made as wide as one cell.
    """
    least, most = _bounds(settings)
    height, width = size_of_strip(view.height, view.width, _factor(settings), min_pixels=least, max_pixels=most)
    return height, width


def group(source: Source) -> int:
    """Number of frames behind one token: `temporal_patch_size` of the processor."""
    return int(source.videos.temporal_patch_size)


def merged_frames(source: Source) -> int:
    """Number of frames behind one token: as many as the projector merges."""
    return int(source.config.vision_config.temporal_merge_size)


@dataclass(frozen=True)
class Merged(Layout):
    """Layout of cells of `merge_size` × `merge_size` patches.

    Attributes:
        rule: rule by which a picture is scaled.
        clip_rule: rule by which frames are scaled; None for a family that reads no clips.
        group: rule for the number of frames behind one token of a clip.
    """

    rule: Rule = by_area
    clip_rule: Rule | None = None
    group: Fact = group

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the merged cells, in reading order."""
        settings = source.images
        return _cells(source.view, settings, self.rule, int(settings.temporal_patch_size))

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of merged cells."""
        settings = source.images
        view = _scaled(source.view, settings, self.rule, int(settings.temporal_patch_size))
        return view.count(_factor(settings))

    def smaller(self, source: Source, picture: Picture) -> Iterator[Size]:
        """Sizes of whole cells; within its bounds the processor keeps them."""
        return whole_cells(picture.width, picture.height, _factor(source.images))

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of the merged cells of each group of frames in turn."""
        if self.clip_rule is None:
            return super().clip(source, clip)
        settings, together = source.videos, self.group(source)
        if settings.get("use_token_compression", False):
            raise UnsupportedModelError(
                f"This processor of {source.config.model_type!r} leaves out tokens whose pixels repeat the frame "
                "before, so their places do not follow from sizes; set use_token_compression=False."
            )
        boxes = []
        for first in range(0, clip.frames, together):
            view = source.view.at(first, min(together, clip.frames - first))
            boxes += _cells(view, settings, self.clip_rule, clip.frames)
        return boxes


def _cells(view: View, settings: Settings, rule: Rule, frames: int) -> list[TokenBox]:
    return _scaled(view, settings, rule, frames).cells("grid", _factor(settings))


def _scaled(view: View, settings: Settings, rule: Rule, frames: int) -> View:
    """The raster that the tower sees."""
    if settings.get("do_resize", True):
        try:
            height, width = rule(settings, view, frames)
        except ValueError as error:
            shown = "" if view.frame is None else f"{frames} frame(s) of "
            raise UnsupportedInputError(
                f"The processor cannot scale {shown}{view.width} × {view.height} pixels ({error}); "
                "give a less narrow picture."
            ) from error
        view = view.resized(width, height)
    return view


def _area(settings: Settings, view: View, least: int, most: int) -> tuple[int, int]:
    height, width = size_within_area(view.height, view.width, _factor(settings), min_pixels=least, max_pixels=most)
    return height, width


def _factor(settings: Settings) -> int:
    """Pixels along one side of a merged cell."""
    return int(settings.patch_size) * int(settings.merge_size)


def _bounds(settings: Settings) -> tuple[int, int]:
    size = dict(settings.size)
    return int(size["shortest_edge"]), int(size["longest_edge"])
