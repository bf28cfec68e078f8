"""Sizes that each family's settings give to the frames of a clip.

Each function returns the sizes that a frame is brought to, one after the other, as (height, width) in pixels. Where a
rule takes more than a line, transformers' own function is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from todre.errors import LoadError

Size = tuple[int, int]


def fixed(settings: Mapping[str, Any], n_frames: int, height: int, width: int) -> list[Size]:
    """The size that the settings give.

    `size` holds `height` and `width`, or `shortest_edge`. With `shortest_edge` the aspect ratio is kept and the long
    side rounded down.
    """
    size = settings["size"]
    if size.get("height") and size.get("width"):
        return [(size["height"], size["width"])]
    edge = size.get("shortest_edge")
    if not edge or size.get("longest_edge"):
        raise LoadError(
            f"The video settings have size {size}, which cannot be followed; give height and width, or shortest_edge."
        )
    if height <= width:
        return [(edge, int(edge * width / height))]
    return [(int(edge * height / width), edge)]


def qwen2(settings: Mapping[str, Any], n_frames: int, height: int, width: int) -> list[Size]:
    """Qwen2: multiples of patch times merge, with the area of one frame in bounds.

    The bounds are the edges in `size`, which are areas in pixels.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    least, most = _areas(settings)
    factor = settings["patch_size"] * settings["merge_size"]
    if settings.get("cap_pixels_per_frame"):
        budget = int(settings["max_video_tokens"] * factor * factor * 0.9)
        most = max(min(most, budget * settings["temporal_patch_size"] // n_frames), int(least * 1.05))
    return [smart_resize(height, width, factor=factor, min_pixels=least, max_pixels=most)]


def qwen3(settings: Mapping[str, Any], n_frames: int, height: int, width: int) -> list[Size]:
    """Qwen3: as `qwen2`, but the areas are those of the whole clip."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

    least, most = _areas(settings)
    factor = settings["patch_size"] * settings["merge_size"]
    if settings.get("cap_pixels_per_frame"):
        share = min(settings["max_video_tokens"] * factor * factor, most // n_frames)
        most = max(share, int(least * 1.05)) * n_frames
    step = settings["temporal_patch_size"]
    return [
        smart_resize(
            num_frames=max(n_frames, step),
            height=height,
            width=width,
            temporal_factor=step,
            factor=factor,
            min_pixels=least,
            max_pixels=most,
        )
    ]


def smolvlm(settings: Mapping[str, Any], n_frames: int, height: int, width: int) -> list[Size]:
    """SmolVLM: the longest side is brought to `size`, then the frame to a square.

    The first step keeps the aspect ratio; the tower reads the square, whose side is in `max_image_size`.
    """
    from transformers.models.smolvlm.video_processing_smolvlm import get_resize_output_image_size

    size, side = settings["size"], settings["max_image_size"]["longest_edge"]
    if size.get("longest_edge"):
        frame = torch.empty(height, width, device="meta", dtype=torch.float32)
        first = get_resize_output_image_size(frame, resolution_max_side=size["longest_edge"])
    else:
        first = fixed(settings, n_frames, height, width)[0]
    return [first, (side, side)]


def _areas(settings: Mapping[str, Any]) -> tuple[int, int]:
    """(least, most) area of a frame or a clip in pixels."""
    size = settings["size"]
    if not size.get("shortest_edge") or not size.get("longest_edge"):
        raise LoadError(
            f"The video settings have size {size}, which cannot be followed; give shortest_edge and longest_edge."
        )
    return size["shortest_edge"], size["longest_edge"]
