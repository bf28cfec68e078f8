"""Which pixels of the original picture a visual token was made from.

LLaVA-1.5 pads or crops the picture to a square and cuts it into one grid. LLaVA-NeXT looks twice: at a thumbnail (the
whole picture squeezed into one square), and at crops (the picture scaled into the best of several canvases, padded, cut
into squares), whose padding is taken out again and whose rows each end in a newline token. The sequence is the
thumbnail's grid, then the rows of crops with their newlines (LLaVA-NeXT, "AnyRes"; Liu et al. 2024).

Everything follows from the processor's settings, the config and the picture's size; no pixel is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_transforms import get_resize_output_image_size
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.modeling_llava_next import unpad_image

from todre.errors import UnsupportedModelError

Kind = Literal["grid", "thumbnail", "crop", "newline", "class"]


@dataclass(frozen=True)
class TokenBox:
    """The rectangle of original pixels behind one visual token, clipped to the picture.

    Attributes:
        image: index of the picture among those of the prompt.
        kind: "grid" (LLaVA-1.5), "thumbnail", "crop", "newline" (zero width, at the row's right end) or "class".
        left, top, right, bottom: pixels of the original picture, right and bottom exclusive; an empty rectangle where
            the token saw nothing but padding.
    """

    image: int
    kind: Kind
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Area in original pixels."""
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)


@dataclass(frozen=True)
class _Axis:
    """One axis of an affine map: target = source · scale + shift."""

    scale: float
    shift: float = 0.0

    def then(self, other: _Axis) -> _Axis:
        return _Axis(self.scale * other.scale, self.shift * other.scale + other.shift)

    def source(self, target: float) -> float:
        return (target - self.shift) / self.scale


def visual_token_boxes(processor: Any, config: Any, sizes: Sequence[tuple[int, int]]) -> list[TokenBox]:
    """Rectangles of all visual tokens of a prompt, in sequence order.

    Args:
        processor: the model's processor (settings of its image processor, number of class tokens).
        config: the model's config.
        sizes: (width, height) of each picture of the prompt, in pixels, in order.

    Returns:
        One `TokenBox` per visual token: index i is the i-th visual token of the row, as in `PruningReport.kept`.

    Raises:
        UnsupportedModelError: no geometry is known for the model's family.
    """
    packing = _packing(config)
    boxes = []
    for index, (width, height) in enumerate(sizes):
        boxes += packing(processor, config, index, width, height)
    return boxes


def count_visual_tokens(config: Any, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(visual tokens, tiles) of one picture, from the config alone.

    Args:
        config: a model's config.
        size: (width, height) in pixels; None takes one that fills the largest canvas. LLaVA-1.5 has one size only.

    Raises:
        UnsupportedModelError: no geometry is known for the model's family.
    """
    _packing(config)
    side = config.vision_config.image_size // config.vision_config.patch_size
    if config.model_type == "llava":
        return side**2, 1
    if size is None:
        height, width = max(
            config.image_grid_pinpoints, key=lambda canvas: (canvas[0] * canvas[1], -abs(canvas[0] - canvas[1]))
        )
    else:
        width, height = size
    tile = config.vision_config.image_size
    canvas_height, canvas_width = select_best_resolution((height, width), config.image_grid_pinpoints)
    tiles = (canvas_height // tile) * (canvas_width // tile)
    grid = torch.empty(1, canvas_height // tile * side, canvas_width // tile * side)
    _, rows, columns = unpad_image(grid, (height, width)).shape
    return side**2 + rows * (columns + 1), 1 + tiles


def _grid(processor: Any, config: Any, image: int, width: int, height: int) -> list[TokenBox]:
    """LLaVA-1.5: (pad to a square,) scale, crop the centre, one raster grid."""
    settings = processor.image_processor
    x, y = _Axis(1.0), _Axis(1.0)
    across, down = width, height
    if settings.do_pad:
        across = down = max(width, height)
        x, y = _Axis(1.0, (across - width) // 2), _Axis(1.0, (down - height) // 2)
    if settings.do_resize:
        down_new, across_new = _resized(settings.size, across, down)
        x, y = x.then(_Axis(across_new / across)), y.then(_Axis(down_new / down))
        across, down = across_new, down_new
    if settings.do_center_crop:
        crop_height, crop_width = settings.crop_size["height"], settings.crop_size["width"]
        x, y = x.then(_Axis(1.0, _crop_shift(across, crop_width))), y.then(_Axis(1.0, _crop_shift(down, crop_height)))
        across, down = crop_width, crop_height
    patch = config.vision_config.patch_size
    boxes = [TokenBox(image, "class", 0.0, 0.0, width, height)] * _class_tokens(processor)
    for row in range(down // patch):
        for column in range(across // patch):
            boxes.append(_box(image, "grid", (x, y), (row, column), patch, (width, height)))
    return boxes


def _anyres(processor: Any, config: Any, image: int, width: int, height: int) -> list[TokenBox]:
    """LLaVA-NeXT: the thumbnail's grid, then the unpadded grid over all crops, each row closed by a newline."""
    if _class_tokens(processor) != 0:
        raise UnsupportedModelError(
            "LLaVA-NeXT with class tokens among its visual tokens has no known geometry; "
            'use vision_feature_select_strategy="default".'
        )
    settings = processor.image_processor
    tile = settings.crop_size["height"]
    patch = config.vision_config.patch_size
    side = config.vision_config.image_size // patch
    scaled, _ = _resized(settings.size, tile, tile)
    centred = _Axis(1.0, _crop_shift(scaled, tile) if settings.do_center_crop else 0)
    within_tile = _Axis(scaled / tile).then(centred)
    thumb_axes = _Axis(scaled / width).then(centred), _Axis(scaled / height).then(centred)
    cells = [(row, column) for row in range(side) for column in range(side)]
    boxes = [_box(image, "thumbnail", thumb_axes, cell, patch, (width, height)) for cell in cells]
    return boxes + _crops(config, image, tile, within_tile, (width, height))


def _crops(config: Any, image: int, tile: int, within_tile: _Axis, size: tuple[int, int]) -> list[TokenBox]:
    """The rows of crop tokens that unpadding leaves, newlines included; the model's own helpers decide which."""
    width, height = size
    patch = config.vision_config.patch_size
    side = config.vision_config.image_size // patch

    canvas_height, canvas_width = select_best_resolution((height, width), config.image_grid_pinpoints)
    blank = np.broadcast_to(np.zeros(1, dtype=np.uint8), (3, height, width))
    new_height, new_width = get_patch_output_size(blank, (canvas_height, canvas_width), ChannelDimension.FIRST)
    x = _Axis(new_width / width).then(_Axis(1.0, (canvas_width - new_width) // 2))
    y = _Axis(new_height / height).then(_Axis(1.0, (canvas_height - new_height) // 2))

    rows, columns = canvas_height // tile * side, canvas_width // tile * side
    cells = torch.arange(rows * columns).view(1, rows, columns)
    boxes = []
    for line in unpad_image(cells, (height, width))[0].tolist():
        top = bottom = 0.0
        for cell in line:
            row, column = divmod(cell, columns)
            edges = [
                axis.source(number // side * tile + within_tile.source((number % side + step) * patch))
                for axis, number in ((x, column), (y, row))
                for step in (0, 1)
            ]
            box = _clipped(image, "crop", edges, size)
            top, bottom = box.top, box.bottom
            boxes.append(box)
        boxes.append(TokenBox(image, "newline", float(width), top, float(width), bottom))
    return boxes


def _packing(config: Any) -> Callable[[Any, Any, int, int, int], list[TokenBox]]:
    packings = {"llava": _grid, "llava_next": _anyres}
    packing = packings.get(config.model_type)
    if packing is None:
        raise UnsupportedModelError(
            f"Which pixels the visual tokens of {config.model_type!r} come from is not known, so they can neither be "
            f"counted nor drawn; leave the picture out, or use one of {', '.join(sorted(packings))}."
        )
    return packing


def _box(
    image: int, kind: Kind, axes: tuple[_Axis, _Axis], cell: tuple[int, int], patch: int, size: tuple[int, int]
) -> TokenBox:
    """Box of a grid cell (row, column) of `patch` pixels, seen through the (x, y) maps."""
    (x, y), (row, column) = axes, cell
    edges = [x.source(column * patch), x.source((column + 1) * patch)]
    edges += [y.source(row * patch), y.source((row + 1) * patch)]
    return _clipped(image, kind, edges, size)


def _clipped(image: int, kind: Kind, edges: Sequence[float], size: tuple[int, int]) -> TokenBox:
    """A box from (left, right, top, bottom), clipped to a picture of (width, height)."""
    width, height = size
    left, right = (min(max(edge, 0.0), float(width)) for edge in edges[:2])
    top, bottom = (min(max(edge, 0.0), float(height)) for edge in edges[2:])
    return TokenBox(image, kind, left, top, right, bottom)


def _resized(size: Any, width: int, height: int) -> tuple[int, int]:
    """(height, width) after the image processor's resize, by its own rule for `size`."""
    settings = dict(size)
    if settings.get("height") and settings.get("width"):
        return settings["height"], settings["width"]
    blank = np.broadcast_to(np.zeros(1, dtype=np.uint8), (3, height, width))
    resized: tuple[int, int] = get_resize_output_image_size(
        blank, settings["shortest_edge"], default_to_square=False, input_data_format=ChannelDimension.FIRST
    )
    return resized


def _crop_shift(length: int, crop: int) -> int:
    """Shift of the origin by the processor's centre crop (negative), or by its zero padding of a smaller picture."""
    return -((length - crop) // 2)


def _class_tokens(processor: Any) -> int:
    """Class tokens that stay among a tile's visual tokens."""
    dropped = 1 if processor.vision_feature_select_strategy == "default" else 0
    return max(int(processor.num_additional_image_tokens) - dropped, 0)
