"""Rules by which image processors scale, tile and unpad pictures.

The rules are imported under plain names, not rewritten: so visual tokens are placed by the code that cuts the picture.
"""

from __future__ import annotations

from typing import Any

from transformers.image_processing_utils import get_patch_output_size as size_within_canvas
from transformers.image_processing_utils import select_best_resolution as best_canvas
from transformers.image_transforms import get_resize_output_image_size as size_by_shortest_edge
from transformers.image_utils import ChannelDimension
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize as size_within_volume
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    get_resize_output_image_size as size_by_longest_edge,
)
from transformers.models.llava_next.modeling_llava_next import unpad_image as without_padding
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import smart_resize as size_of_strip
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size as size_in_patches
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as size_within_area

__all__ = [
    "ChannelDimension",
    "best_canvas",
    "default_arguments",
    "is_larger_than_one_look",
    "size_by_longest_edge",
    "size_by_shortest_edge",
    "size_in_patches",
    "size_of_strip",
    "size_within_area",
    "size_within_canvas",
    "size_within_volume",
    "tiles_by_largest_picture",
    "tiles_by_tokens",
    "without_padding",
]


def tiles_by_largest_picture(settings: Any, width: int, height: int, tile: int) -> tuple[int, int]:
    """Perception LM's canvas for a picture, as (columns, rows) of tiles.

    The image processor has two private rules (seen in transformers 5.18 to 5.24): the first answers None where no
    canvas holds the picture.

    Args:
        settings: the image processor.
        width: in pixels.
        height: in pixels.
        tile: pixels along each side of a tile.
    """
    size = {"img_width": width, "img_height": height, "tile_size": tile}
    columns, rows = settings._fit_image_to_canvas(**size) or settings._find_closest_aspect_ratio(**size)
    return columns, rows


def is_larger_than_one_look(settings: Any, width: int, height: int) -> bool:
    """True if LFM2-VL's image processor would cut a picture into tiles.

    The rule is a private method of the image processor (seen in transformers 5.18 to 5.24).

    Args:
        settings: the image processor.
        width: in pixels.
        height: in pixels.
    """
    large = settings._is_image_too_large(
        height=height,
        width=width,
        max_image_tokens=settings.max_image_tokens,
        encoder_patch_size=settings.encoder_patch_size,
        downsample_factor=settings.downsample_factor,
        max_pixels_tolerance=settings.max_pixels_tolerance,
    )
    return bool(large)


def tiles_by_tokens(settings: Any, width: int, height: int, tile: int) -> tuple[int, int]:
    """LFM2-VL's canvas for a picture, as (columns, rows) of tiles.

    The rule is a private method of the image processor (seen in transformers 5.18 to 5.24).

    Args:
        settings: the image processor.
        width: in pixels.
        height: in pixels.
        tile: pixels along each side of a tile.
    """
    fewest, most = int(settings.min_tiles), int(settings.max_tiles)
    columns, rows = settings._get_grid_layout(height, width, fewest, most, tile)[:2]
    return columns, rows


def default_arguments(processor: Any, part: str) -> dict[str, Any]:
    """The arguments that a processor always passes to one of its parts, by name.

    The defaults are a private attribute of the class of its arguments (seen in transformers 5.18 to 5.24).

    Args:
        processor: a processor of transformers.
        part: `images_kwargs` or `videos_kwargs`.
    """
    defaults = getattr(getattr(processor, "valid_processor_kwargs", None), "_defaults", {})
    return dict(defaults.get(part, {}))
