"""Rules by which families lay pictures out in tiles.

The image processor's own code chooses the arrangement. Each rule returns the view of the picture on its
canvas, which is a whole number of tiles wide and high, or None where the family looks at the picture once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch

from todre.errors import UnsupportedModelError
from todre.geometry.boxes import View
from todre.geometry.source import Settings
from todre.geometry.steps import blank, pair, square
from todre.hf.picture_rules import (
    is_larger_than_one_look,
    size_by_longest_edge,
    tiles_by_largest_picture,
    tiles_by_tokens,
)

Canvas = Callable[[View, Settings], View | None]
Frame = Callable[[View, Settings], View]


def by_aspect_ratio(view: View, settings: Settings) -> View | None:
    """InternVL, Aya Vision, Cohere2 Vision: the canvas with the least distortion."""
    if not settings.get("crop_to_patches", False):
        return None
    choose = rule_of(settings, "get_optimal_tiled_canvas")
    columns, rows = choose((view.height, view.width), pair(settings.size), settings.min_patches, settings.max_patches)
    return _squeezed(view, columns, rows, pair(settings.size))


def by_covered_area(view: View, settings: Settings) -> View | None:
    """Ovis2: the smallest canvas whose tiles keep most of the picture's area.

    The area is measured at the picture's own resolution.
    """
    if not settings.get("use_covering_area_grid", True):
        return by_aspect_ratio(view, settings)
    if not settings.get("crop_to_patches", False) or settings.max_patches <= 1:
        return None
    choose = rule_of(settings, "get_min_tile_covering_grid")
    height, width = pair(settings.size)
    columns, rows = choose((view.height, view.width), target_patch_size=height, max_image_tiles=settings.max_patches)
    return _squeezed(view, columns, rows, (height, width))


def by_fit(view: View, settings: Settings) -> View | None:
    """Llama 4: the canvas that shrinks the picture least.

    The picture lies undistorted in the upper left corner.
    """
    tile = square(settings.size)
    sizes = rule_of(settings, "find_supported_resolutions")(settings.max_patches, settings.size)
    possible = torch.tensor(sizes, dtype=torch.int64, device="cpu")
    largest = bool(settings.resize_to_max_canvas)
    best = rule_of(settings, "get_best_fit")((view.height, view.width), possible, resize_to_max_canvas=largest)
    canvas = int(best[0]), int(best[1])
    limit = canvas
    if not largest:
        limit = min(max(view.height, tile), canvas[0]), min(max(view.width, tile), canvas[1])
    inner = rule_of(settings, "get_max_res_without_distortion")((view.height, view.width), limit)
    return view.resized(max(inner[1], 1), max(inner[0], 1)).shifted(canvas[1], canvas[0], 0, 0)


def by_tile_count(view: View, settings: Settings) -> View | None:
    """Perception LM: the canvas on which the picture stays largest.

    Where no canvas holds the picture, the canvas nearest to its shape is taken.
    """
    if settings.vision_input_type != "thumb+tile":
        return None
    tile, columns, rows = int(settings.tile_size), 1, 1
    if settings.max_num_tiles > 1:
        columns, rows = tiles_by_largest_picture(settings, view.width, view.height, tile)
    return _squeezed(view, columns, rows, (tile, tile))


def by_longest_edge(view: View, settings: Settings) -> View | None:
    """Idefics3, SmolVLM: the longest edge scaled to `size`, sides rounded up.

    Both sides are rounded up to whole tiles.
    """
    if not settings.get("do_image_splitting", False):
        return None
    height, width = view.height, view.width
    if settings.get("do_resize", True):
        height, width = size_by_longest_edge(blank(view), dict(settings.size)["longest_edge"])
    tile = _longest(settings)
    aspect = width / height
    if width >= height:
        width = math.ceil(width / tile) * tile
        height = math.ceil(int(width / aspect) / tile) * tile
    else:
        height = math.ceil(height / tile) * tile
        width = math.ceil(int(height * aspect) / tile) * tile
    return view.resized(width, height)


def by_tokens(view: View, settings: Settings) -> View | None:
    """LFM2-VL: a canvas for pictures that are much larger than one look allows."""
    one_look = int(settings.min_tiles) == int(settings.max_tiles) == 1
    large = is_larger_than_one_look(settings, view.width, view.height)
    if not settings.do_image_splitting or one_look or not large:
        return None
    tile = int(settings.tile_size)
    columns, rows = tiles_by_tokens(settings, view.width, view.height, tile)
    return _squeezed(view, columns, rows, (tile, tile))


def whole_by_tokens(view: View, settings: Settings) -> View:
    """LFM2-VL: the whole picture at its own aspect ratio, within bounds on its tokens."""
    names = ("downsample_factor", "min_image_tokens", "max_image_tokens", "encoder_patch_size")
    width, height = settings.smart_resize(view.height, view.width, **{name: getattr(settings, name) for name in names})
    return view.resized(width, height)


def whole_tile(view: View, settings: Settings) -> View:
    """The whole picture squeezed into one tile of `size`."""
    height, width = pair(settings.size)
    return view.resized(width, height)


def whole_tile_size(view: View, settings: Settings) -> View:
    """The whole picture squeezed into one tile of `tile_size`."""
    return view.resized(int(settings.tile_size), int(settings.tile_size))


def whole_longest(view: View, settings: Settings) -> View:
    """The whole picture or frame squeezed into one tile of `max_image_size`."""
    return view.resized(_longest(settings), _longest(settings))


def rule_of(settings: Settings, name: str) -> Any:
    """A function by name from the module that defines the image processor.

    Such functions choose a canvas or a size.

    Raises:
        UnsupportedModelError: the module has no such function in this version of transformers.
    """
    for kind in type(settings.part).__mro__:
        rule = getattr(sys.modules.get(kind.__module__), name, None)
        if rule is not None:
            return rule
    raise UnsupportedModelError(
        f"The image processor {type(settings.part).__name__} has no {name}, which says how pictures are cut into "
        "tiles; use a transformers release from 5.18 to 5.24."
    )


def _squeezed(view: View, columns: int, rows: int, tile: tuple[int, int]) -> View:
    return view.resized(columns * tile[1], rows * tile[0])


def _longest(settings: Settings) -> int:
    return int(dict(settings.max_image_size)["longest_edge"])
