"""Steps that many image processors share, as changes of a view.

The steps resize, pad and crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from todre.errors import UnsupportedModelError
from todre.geometry.boxes import View
from todre.geometry.source import Settings
from todre.hf.picture_rules import ChannelDimension, size_by_shortest_edge


def resize_and_crop(view: View, settings: Settings) -> View:
    """The raster after a plain processor's steps: resize and centre crop.

    Each step is done only where the settings switch it on.
    """
    if settings.get("do_resize", False):
        view = resize(view, settings.size)
    if settings.get("do_center_crop", False):
        view = centre_crop(view, settings)
    return view


def look(view: View, settings: Settings) -> View:
    """The raster after a plain image processor's steps.

    LLaVA's processor pads to a square first, where the settings switch that on.
    """
    if settings.get("do_pad", False) and hasattr(settings.part, "pad_to_square"):
        view = pad_to_square(view)
    return resize_and_crop(view, settings)


def fit_to_square(view: View, settings: Settings) -> View:
    """DeepSeek-VL, Janus: the longer edge scaled to `size`, then padded to a square."""
    if settings.get("do_resize", False):
        scale = dict(settings.size)["height"] / max(view.width, view.height)
        width, height = (max(round(side * scale), settings.min_size) for side in (view.width, view.height))
        view = view.resized(width, height)
    return pad_to_square(view) if settings.get("do_pad", False) else view


def pad_to_square(view: View) -> View:
    """The raster in the middle of the smallest square around it."""
    side = max(view.width, view.height)
    return view.shifted(side, side, (side - view.width) // 2, (side - view.height) // 2)


def pair(value: Any) -> tuple[int, int]:
    """(height, width) of a setting.

    The setting is one number for both, a pair, or a mapping with the keys height and width.
    """
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple):
        return int(value[0]), int(value[1])
    return int(value["height"]), int(value["width"])


def square(value: Any) -> int:
    """The side of a square (patch, tile) in pixels.

    Configs store the side as a number or as a pair of equal numbers.

    Raises:
        UnsupportedModelError: the numbers of a pair differ.
    """
    height, width = pair(value)
    if height != width:
        raise UnsupportedModelError(
            f"Visual tokens of {height} × {width} pixels are not square, and their places are not known; "
            "use a checkpoint with square patches."
        )
    return height


def resize(view: View, size: Any) -> View:
    """The raster after the image processor's plain resize to `size`."""
    settings = dict(size)
    if settings.get("height") and settings.get("width"):
        return view.resized(settings["width"], settings["height"])
    height, width = size_by_shortest_edge(
        blank(view), settings["shortest_edge"], default_to_square=False, input_data_format=ChannelDimension.FIRST
    )
    return view.resized(width, height)


def centre_crop(view: View, settings: Settings) -> View:
    """The raster after a centre crop to `crop_size`.

    A raster smaller than `crop_size` is padded on all sides. Where the padding is an odd number of pixels, torchvision
    puts the larger half after the picture, PIL before it.
    """
    height, width = pair(settings.crop_size)
    before = 0 if settings.get("backend") == "torchvision" else 1
    right, down = (
        -((length - crop) // 2) if length > crop else (crop - length + before) // 2
        for length, crop in ((view.width, width), (view.height, height))
    )
    return view.shifted(width, height, right, down)


def blank(view: View) -> np.ndarray[Any, Any]:
    """A (3, height, width) array of the raster's shape that takes no memory.

    The array serves transformers' rules, which read sizes off arrays.
    """
    return np.broadcast_to(np.zeros(1, dtype=np.uint8), (3, view.height, view.width))
