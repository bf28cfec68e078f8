"""A checkpoint's settings for clips: which file has them, and older spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from todre.errors import LoadError
from todre.hub import first_line
from todre.processing.families import BY_PROCESSOR, VideoFamily


def read_video_settings(path: Path) -> dict[str, Any]:
    """The video settings in a checkpoint's folder.

    They are read from the first of these that is there, as transformers does: `video_processor` inside
    processor_config.json, then video_preprocessor_config.json, then preprocessor_config.json.

    Raises:
        LoadError: none is there, or it is not JSON.
    """
    from transformers.video_processing_utils import BaseVideoProcessor

    try:
        settings, _ = BaseVideoProcessor.get_video_processor_dict(str(path), local_files_only=True)
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{path} has no usable settings for videos ({first_line(error)}); "
            "add its video_preprocessor_config.json beside the weights."
        ) from error
    return dict(settings)


def family_name(settings: dict[str, Any], processor: str) -> str:
    """Name of the video processor's class.

    The settings name the class; otherwise it is the class that belongs to the `processor` class.
    """
    named = settings.get("video_processor_type")
    return str(named or BY_PROCESSOR.get(processor) or processor)


def complete(settings: dict[str, Any], family: VideoFamily) -> dict[str, Any]:
    """The family's defaults, replaced by the checkpoint's own settings.

    All sizes become dictionaries.
    """
    own = {name: value for name, value in settings.items() if value is not None}
    full = {**family.defaults, **own}
    sampling = full.pop("video_sampling", None)
    if sampling and family.name == "SmolVLMVideoProcessor":
        full |= {"num_frames": sampling["max_frames"], "fps": sampling["fps"]}
        full["size"] = own.get("size", sampling["video_size"])
    full["size"] = _edges(full["size"], {"shortest_edge": full["size"]})
    if family.name == "Qwen2VLVideoProcessor":
        full["size"] = _qwen2_areas(full)
    if full["crop_size"] is not None:
        full["crop_size"] = _edges(full["crop_size"], {"height": full["crop_size"], "width": full["crop_size"]})
    full.pop("image_processor_type", None)
    return full | {"video_processor_type": family.name}


def _edges(size: Any, of_number: dict[str, Any]) -> dict[str, Any]:
    """A size as a dictionary; older checkpoints give one number."""
    return of_number if isinstance(size, int) else dict(size)


def _qwen2_areas(settings: dict[str, Any]) -> dict[str, Any]:
    """The size of Qwen2's processor, with areas in pixels as its edges.

    Older checkpoints call these areas `min_pixels` and `max_pixels`, beside `size` or inside it.
    """
    size = dict(settings["size"])
    for edge, older in (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels")):
        inside = size.pop(older, None)
        value = settings.pop(older, None)
        size[edge] = next((area for area in (value, size.get(edge), inside) if area is not None), None)
    return size
