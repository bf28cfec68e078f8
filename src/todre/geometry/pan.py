"""Gemma 3: one grid of pooled patches per picture, and one for each crop.

Only "pan and scan" makes crops. Crops are cut out of the original picture side by side, along its longer edge, and each
crop is squeezed into the tower's square; the whole picture comes first (Gemma Team, 2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from todre.geometry.boxes import Picture, TokenBox, View
from todre.geometry.grid import FlatGrid, patch
from todre.geometry.source import Settings, Source
from todre.geometry.steps import resize_and_crop, square


def averaged_cell(source: Source) -> int:
    """Pixels along one side of a token, from `mm_tokens_per_image`."""
    side = square(source.config.vision_config.image_size) // patch(source)
    return patch(source) * (side // int(source.config.mm_tokens_per_image**0.5))


@dataclass(frozen=True)
class PanAndScan(FlatGrid):
    """Layout of Gemma 3: the whole picture, then its crops."""

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of one grid for the whole picture, then of one for each crop."""
        settings, cell = source.images, self.cell(source)
        crops = _crops(source.view, settings) if settings.get("do_pan_and_scan", False) else []
        boxes = resize_and_crop(source.view, settings).cells("thumbnail" if crops else "grid", cell)
        for crop in crops:
            boxes += resize_and_crop(crop, settings).cells("crop", cell)
        return boxes

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of tokens of the whole picture's grid and of each crop's."""
        settings, cell = source.images, self.cell(source)
        crops = _crops(source.view, settings) if settings.get("do_pan_and_scan", False) else []
        return sum(resize_and_crop(view, settings).count(cell) for view in (source.view, *crops))


def _crops(view: View, settings: Settings) -> list[View]:
    """The crops of a picture, cut side by side along its longer edge.

    Their number is the ratio of the longer to the shorter edge, rounded, within the settings' bounds on the number and
    size of crops. There may be no crops.
    """
    longer, shorter = max(view.width, view.height), min(view.width, view.height)
    if longer / shorter < settings.pan_and_scan_min_ratio_to_activate:
        return []
    smallest = settings.pan_and_scan_min_crop_size
    count = min(math.floor(longer / smallest), math.floor(longer / shorter + 0.5))
    count = min(settings.pan_and_scan_max_num_crops, max(2, count))
    length = math.ceil(longer / count)
    if min(length, shorter) < smallest:
        return []
    views = []
    for start in range(0, length * count, length):
        rest = min(length, longer - start)
        if view.width >= view.height:
            views.append(view.shifted(rest, shorter, -start, 0))
        else:
            views.append(view.shifted(shorter, rest, 0, -start))
    return views
