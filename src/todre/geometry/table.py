"""Which layout each family has: one row for each `config.model_type`, with its facts."""

from __future__ import annotations

from typing import Any

from todre.errors import UnsupportedModelError
from todre.geometry.anyres import AnyRes, AnyResVideo, OneVision
from todre.geometry.grid import FlatGrid, additional_tokens, class_tokens, processor_patch
from todre.geometry.source import Layout

LAYOUTS: dict[str, Layout] = {
    # one grid per picture or frame
    "llava": FlatGrid(classes=class_tokens),
    "vipllava": FlatGrid(),
    "paligemma": FlatGrid(),
    "video_llava": FlatGrid(classes=class_tokens, frame_classes=additional_tokens),
    "fast_vlm": FlatGrid(cell=processor_patch),
    # thumbnail, crops, newlines
    "llava_next": AnyRes(),
    "llava_next_video": AnyResVideo(),
    "llava_onevision": OneVision(),
}


def layout_of(config: Any) -> Layout:
    """The layout of a model's visual tokens.

    Raises:
        UnsupportedModelError: it is not known, or there is none.
    """
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        raise UnsupportedModelError(
            f"Which pixels the visual tokens of {config.model_type!r} come from is not known, so they can neither be "
            f"counted nor drawn; leave the picture out, or use one of {', '.join(sorted(LAYOUTS))}."
        )
    return layout
