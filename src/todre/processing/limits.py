"""Limits on a processor's settings: picture sizes and counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from todre.errors import LoadError
from todre.images import MAX_PIXELS

MAX_SIDE = 8192
"""Longest side in pixels that a processor may give a picture, crop or tile."""

_SIDES = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")
_SIZES = ("size", "crop_size", "pad_size", "max_image_size", "image_size", "canvas_size")
_COUNTS = {
    "patch_size": (1, 1024),
    "merge_size": (1, 64),
    "temporal_patch_size": (1, 64),
    "downsample_ratio": (0, 64),
    "min_patches": (0, 1024),
    "max_patches": (1, 16384),
    "num_additional_image_tokens": (0, 1024),
    "image_seq_length": (0, 65536),
    "image_seq_len": (0, 65536),
    "num_frames": (1, 1_000_000),
}
"""Setting → (least, most) of its value.

Each of these settings multiplies the pixels, tiles or tokens of a picture.
"""

_MAX_PINPOINTS = 4096
_STRATEGIES = ("default", "full")


def check_settings(name: str, processor: Any) -> None:
    """Raise unless the settings of all parts of a processor can be followed.

    The check reads settings alone and prepares no picture.

    Args:
        name: what the error message calls the checkpoint.
        processor: a processor with an image processor, and maybe a video processor.

    Raises:
        LoadError: a size, a count or a strategy is of a wrong type, or beyond what a picture can be brought to.
    """
    for part in ("image_processor", "video_processor", None):
        owner = processor if part is None else getattr(processor, part, None)
        for field, value, least, most in _requests(owner):
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise LoadError(
                    f"The processor of {name} has {field} = {_short(value)}, where a number from {least} to "
                    f"{most:,} is needed; get the model's own processor_config.json."
                )
    strategy = getattr(processor, "vision_feature_select_strategy", "default")
    if strategy is not None and strategy not in _STRATEGIES:
        raise LoadError(
            f"The processor of {name} has vision_feature_select_strategy = {_short(strategy)}, where 'default' or "
            "'full' is needed; get the model's own processor_config.json."
        )
    if hasattr(processor, "patch_size") and processor.patch_size is None:
        raise LoadError(f"The processor of {name} has no patch_size; add its vision tower's to processor_config.json.")


def check_agreement(name: str, config: Any, processor: Any) -> None:
    """Raise if model and processor would count a picture's tokens differently.

    Raises:
        LoadError: model and processor cut pictures into different tiles, or drop different tokens of the vision tower.
    """
    image_processor = getattr(processor, "image_processor", None)
    canvases = [getattr(owner, "image_grid_pinpoints", ()) for owner in (config, image_processor)]
    if () not in canvases and _canvases(canvases[0]) != _canvases(canvases[1]):
        raise LoadError(
            f"The config and the processor of {name} have different image_grid_pinpoints ({_short(canvases[0])} and "
            f"{_short(canvases[1])}); get both files of one and the same model."
        )
    drops = [getattr(owner, "vision_feature_select_strategy", ()) for owner in (config, processor)]
    if () not in drops and (drops[0] == "default") != (drops[1] == "default"):
        raise LoadError(
            f"The config and the processor of {name} have different vision_feature_select_strategy ({drops[0]!r} and "
            f"{drops[1]!r}); get both files of one and the same model."
        )


def _canvases(pinpoints: Any) -> set[tuple[int, ...]]:
    return {tuple(canvas) for canvas in pinpoints or []}


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:39]}…"


def _requests(owner: Any) -> Iterator[tuple[str, Any, int, int]]:
    """(name, value, least, most) of every size and count in a part of a processor."""
    for field, (least, most) in _COUNTS.items():
        value = getattr(owner, field, None)
        if value is not None:
            yield field, value, least, most
    areas = getattr(owner, "merge_size", None) is not None
    for field in _SIZES:
        yield from _sides(field, getattr(owner, field, None), areas)
    pinpoints = getattr(owner, "image_grid_pinpoints", None) or []
    yield "the number of image_grid_pinpoints", len(pinpoints), 0, _MAX_PINPOINTS
    for canvas in pinpoints[:_MAX_PINPOINTS]:
        for side in canvas if isinstance(canvas, list | tuple) else (canvas,):
            yield "image_grid_pinpoints", side, 1, MAX_SIDE


def _sides(field: str, size: Any, areas: bool) -> Iterator[tuple[str, Any, int, int]]:
    """(name, value, least, most) of the sides of one size.

    Processors that merge patches give areas as edges; of these areas, only the least enlarges a picture.
    """
    if not isinstance(size, Mapping):
        size = {side: value for side in _SIDES if (value := getattr(size, side, None)) is not None}
    for side in _SIDES:
        value = size.get(side)
        if value is None or (areas and side == "longest_edge"):
            continue
        yield f"{field}.{side}", value, 1, MAX_PIXELS if areas and side == "shortest_edge" else MAX_SIDE
