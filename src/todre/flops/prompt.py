"""FLOPs of one prompt with its pictures and clips, from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from todre.errors import UnsupportedModelError
from todre.flops.config_shapes import shape_of
from todre.flops.count import FlopCount, count
from todre.flops.shape import ModelShape
from todre.hf.keywords import IMAGE_GRIDS, PIXELS, SIZES, VIDEO_GRIDS, VIDEO_PIXELS


def count_prompt(
    config: Any,
    inputs: Mapping[str, Any],
    *,
    tiles: int,
    text_tokens: int,
    visual_tokens: int | Sequence[int],
    new_tokens: int = 1,
    candidates: int | None = None,
    tower_tokens: Sequence[Sequence[tuple[int, int]]] = (),
) -> FlopCount | None:
    """Count one sample's FLOPs from its model's inputs.

    Args:
        config: the model's config.
        inputs: the processor's output. It is read for towers that take pictures of any size: grids of pictures and
            clips (n, 3) in patches, or sizes of pictures (n, 2) in pixels.
        tiles: number of tiles, clips' frames included, that went through a tower of fixed size.
        text_tokens, visual_tokens, new_tokens, candidates, tower_tokens: as for `count`.

    Returns:
        The count; None where a part of the model, or these inputs, cannot be counted.
    """
    try:
        shape = _pooled(shape_of(config), config, inputs)
    except UnsupportedModelError:
        return None
    if shape is None:
        return None
    encoded = _encoded(shape, config, inputs, tiles)
    if encoded is None:
        return None
    return count(
        shape,
        text_tokens=text_tokens,
        visual_tokens=visual_tokens,
        tiles=encoded,
        new_tokens=new_tokens,
        candidates=candidates,
        tower_tokens=tower_tokens,
    )


def _encoded(shape: ModelShape, config: Any, inputs: Mapping[str, Any], tiles: int) -> int | list[int] | None:
    """Number of tiles that the tower encodes, or numbers of patches.

    For towers that take any size, these are the patches of each picture and of each time step of a clip, since Qwen's
    towers let patches attend within their own time step alone. Pixtral's tower runs all pictures as one sequence under
    a mask, and masks are not subtracted; that it embeds all as large as the largest is not counted. None where the
    inputs do not say.
    """
    if shape.vision is None or shape.vision.patches is not None:
        return tiles
    grids = [
        row for name in (IMAGE_GRIDS, VIDEO_GRIDS) if inputs.get(name) is not None for row in inputs[name].tolist()
    ]
    if grids:
        return [height * width for steps, height, width in grids for _ in range(steps)]
    if inputs.get(SIZES) is None:
        return None
    side = config.vision_config.patch_size
    return [sum((height // side) * (width // side) for height, width in inputs[SIZES].tolist())]


def _pooled(shape: ModelShape, config: Any, inputs: Mapping[str, Any]) -> ModelShape | None:
    """The shape with the projector that LLaVA-NeXT-Video uses for clips.

    The model pools the frames of clips before its projector, but does not pool pictures. None where a prompt has both,
    or where the pooling does not divide evenly.
    """
    if config.model_type != "llava_next_video" or inputs.get(VIDEO_PIXELS) is None:
        return shape
    if inputs.get(PIXELS) is not None or config.spatial_pool_mode == "conv":
        return None
    side = config.vision_config.image_size // config.vision_config.patch_size
    left = (side // config.spatial_pool_stride) ** 2
    merge = side**2 // max(left, 1)
    if shape.projector is None or side**2 // merge != left:
        return None
    return replace(shape, projector=replace(shape.projector, merge=merge, extra_tokens=0))
