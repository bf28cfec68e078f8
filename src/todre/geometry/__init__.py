"""The pixels of a picture or clip from which each visual token was made.

Everything follows from the processor's settings, the config and the sizes in the prompt; no pixel is read. A family is
one row of `todre.geometry.table`, and each kind of layout is one file: `grid`, `anyres`, `merged`, `tiles`, `pan` and
`rows`. `todre.hf.visual_layouts` knows where visual tokens lie in the sequence; drawing belongs to `todre.plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from todre.geometry.boxes import ClipShape, Kind, Media, Picture, TokenBox
from todre.geometry.source import Source
from todre.geometry.table import LAYOUTS, layout_of

__all__ = [
    "LAYOUTS",
    "ClipShape",
    "Kind",
    "Media",
    "Picture",
    "TokenBox",
    "count_visual_tokens",
    "visual_token_boxes",
]


def visual_token_boxes(processor: Any, config: Any, media: Sequence[Media | tuple[int, int]]) -> list[TokenBox]:
    """The rectangle of original pixels behind each visual token of a prompt.

    Args:
        processor: the model's processor (settings of its image and video processor, number of class tokens).
        config: the model's config.
        media: what the prompt shows, in order: a `Picture`, a `ClipShape`, or the (width, height) of a picture.

    Returns:
        One `TokenBox` per visual token: index i is the i-th visual token of the row, as in `PruningReport.kept`.

    Raises:
        UnsupportedModelError: no geometry is known for the model's family, or for the kind of media in the prompt.
    """
    layout = layout_of(config)
    prompt = [Picture(*size) if isinstance(size, tuple) else size for size in media]
    boxes: list[TokenBox] = []
    for index, shown in enumerate(prompt):
        source = Source(processor, config, prompt, index)
        boxes += layout.clip(source, shown) if isinstance(shown, ClipShape) else layout.picture(source, shown)
    return boxes


def count_visual_tokens(config: Any, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(visual tokens, tiles) of one picture, from the config alone.

    Args:
        config: a model's config.
        size: (width, height) in pixels; None takes a size that fills the largest canvas. LLaVA-1.5 has one size only.

    Raises:
        UnsupportedModelError: no geometry is known for the model's family, or the count depends on the processor.
    """
    layout = layout_of(config)
    if size is None:
        canvases = getattr(config, "image_grid_pinpoints", None) or [(1, 1)]
        height, width = max(canvases, key=lambda canvas: (canvas[0] * canvas[1], -abs(canvas[0] - canvas[1])))
        size = width, height
    return layout.count(Source(None, config, [Picture(*size)], 0))
