"""Assemble a stock processor where torchvision is absent.

A stand-in takes the place of the stock processor's video processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from todre.errors import LoadError, MissingDependencyError
from todre.processing.families import FAMILIES
from todre.processing.settings import complete, family_name, read_video_settings
from todre.processing.video_stand_ins import NoVideo, PilVideoProcessor, VideoProcessorStandIn

_PARTS = {"image_processor", "tokenizer", "video_processor"}


def can_assemble(stock: Any) -> bool:
    """True if a processor class has exactly the three parts that can be assembled.

    They are an image processor, a tokenizer and a video processor.
    """
    try:
        return set(stock.get_attributes()) == _PARTS
    except ImportError:  # a class that torchvision guards as a whole
        return False


def assemble(path: Path, stock: Any, trust_remote_code: bool) -> Any:
    """A processor of class `stock`, put together from the parts of a folder.

    The parts are transformers' PIL image processor, the tokenizer, and our stand-in for the video processor. If
    the tokenizer or image processor cannot be loaded, transformers' own error is raised.

    Args:
        path: folder of the checkpoint.
        stock: transformers' processor class.
        trust_remote_code: run Python code from the checkpoint.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(path, **options),
        "image_processor": AutoImageProcessor.from_pretrained(path, backend="pil", **options),
        "video_processor": video_stand_in(path, stock.__name__),
    }
    settings, _ = stock.get_processor_dict(path, local_files_only=True)
    host = _accepting_stand_ins(stock)
    return host.from_args_and_dict([parts[name] for name in stock.get_attributes()], settings)


def video_stand_in(path: Path, processor: str) -> VideoProcessorStandIn:
    """The stand-in for the video processor of a folder.

    Args:
        path: folder of the checkpoint.
        processor: name of the stock processor class.

    Returns:
        A stand-in that prepares clips. Where the folder has no settings for videos, or the family's video processor is
        not among `FAMILIES`, a stand-in that raises a clear error when it is called with a clip. Pictures are served
        in every case.
    """
    try:
        settings = read_video_settings(path)
    except LoadError as error:
        return NoVideo({}, error)
    name = family_name(settings, processor)
    family = FAMILIES.get(name)
    if family is None:
        reason = f"Clips for {name} need torchvision, which is not installed; `pip install 'todre[vlm]'` adds it."
        return NoVideo(settings, MissingDependencyError(reason))
    return PilVideoProcessor(complete(settings, family), family)


def _accepting_stand_ins(stock: Any) -> Any:
    """A subclass of `stock` whose check of types accepts a stand-in video processor."""

    def check(self: Any, argument_name: str, argument: Any) -> Any:
        if isinstance(argument, VideoProcessorStandIn):
            return VideoProcessorStandIn
        return stock.check_argument_for_proper_class(self, argument_name, argument)

    return type(stock.__name__, (stock,), {"__module__": stock.__module__, "check_argument_for_proper_class": check})
