"""AnyRes pictures (LLaVA-NeXT and kin): how many crops one is cut into, by transformers' own rule."""

from __future__ import annotations

from typing import Any

from todre.hf.keywords import SIZES


def crop_grid(size: Any, config: Any) -> tuple[int, int]:
    """(rows, columns) of the crops of a picture of `size` (height, width), by the model's `config`."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_config.image_size)
    return int(rows), int(columns)


def picture_sizes(arguments: dict[str, Any]) -> Any:
    """(pictures, 2) height and width of each picture, among the arguments of `get_image_features`."""
    return arguments[SIZES]
