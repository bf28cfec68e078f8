"""Pixtral's tower: pictures at their own aspect ratio, rows of patches (Agrawal et al., 2024).

Each side is rounded up to whole tokens, of one patch in Pixtral and of 2 × 2 merged patches in Mistral 3. The tokens
that end a row and the picture are text: the model does not replace them.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers.image_utils import ChannelDimension
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from todre.geometry.boxes import Picture, TokenBox
from todre.geometry.grid import patch
from todre.geometry.source import Layout, Source
from todre.geometry.steps import blank


@dataclass(frozen=True)
class Rows(Layout):
    """Merged patches in reading order."""

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """The picture's rows."""
        settings, view = source.images, source.view
        cell = patch(source) * int(getattr(source.config, "spatial_merge_size", 1))
        if settings.get("do_resize", True):
            size = dict(settings.size)
            limit = size.get("longest_edge") or (size["height"], size["width"])
            height, width = get_resize_output_image_size(blank(view), limit, cell, ChannelDimension.FIRST)
            view = view.resized(width, height)
        return view.cells("grid", cell)
