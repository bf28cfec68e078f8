"""Load a processor, with torchvision or without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from todre.errors import LoadError, MissingDependencyError, TodreError
from todre.files import Kind, read_json
from todre.files.shapes import ANY
from todre.hub import first_line
from todre.processing.backend import check_torchvision, has_torchvision
from todre.processing.limits import check_settings


class _DamagedError(LoadError):
    """A settings file of a processor cannot be read."""


SETTINGS = Kind("restore it from the checkpoint", ANY, _DamagedError, lenient=True)
"""A processor's or tokenizer's settings."""
_NAMING_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)
"""Files that may name the processor's class, in `AutoProcessor`'s order."""


def load_processor(path: str | Path, trust_remote_code: bool = False, *, name: str | None = None) -> Any:
    """The processor of a checkpoint: image processor, tokenizer and chat template.

    With torchvision, this is what `AutoProcessor` gives. Without it, a processor that carries a video processor would
    refuse to load, even for pictures; then the same processor class is put together from its PIL image processor,
    its tokenizer, and a stand-in that prepares frames by PIL. The text rules are transformers' own in both cases.

    Args:
        path: folder of the checkpoint.
        trust_remote_code: run Python code from the checkpoint; off by default.
        name: what messages call the checkpoint; its path if left out.

    Raises:
        LoadError: the folder has no usable processor, or one whose settings cannot be followed.
        MissingDependencyError: torchvision is broken, or the processor needs a package that is not installed.
    """
    check_torchvision()
    path = Path(path)
    name = name or str(path)
    try:
        processor = _load(path, trust_remote_code)
    except _DamagedError as error:
        raise LoadError(f"{name} has no usable processor: {error}") from error
    except TodreError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"The processor of {name} needs a package that is not installed ({first_line(error).split('. ')[0]}); "
            "`pip install 'todre[vlm]'` adds those that processors of transformers ask for."
        ) from error
    except Exception as error:
        raise LoadError(
            f"{name} has no usable processor ({first_line(error)}); "
            "add its processor_config.json and tokenizer.json beside the weights."
        ) from error
    _check_parts(name, processor)
    check_settings(name, processor)
    return processor


def _check_parts(name: str, processor: Any) -> None:
    """Raise unless image processor and tokenizer exist and the placeholder is known.

    Some tokenizer classes are made without a vocabulary, and without an error, when their files are missing.
    """
    tokenizer = getattr(processor, "tokenizer", None)
    if getattr(processor, "image_processor", None) is None or tokenizer is None:
        raise LoadError(
            f"{name} has a {type(processor).__name__} where image processor and tokenizer are needed; "
            "add its processor_config.json and tokenizer.json beside the weights."
        )
    placeholder = getattr(processor, "image_token", None)
    if isinstance(placeholder, str) and placeholder not in tokenizer.get_vocab():
        raise LoadError(
            f"The tokenizer of {name} does not know {placeholder!r}, which stands for a picture; "
            "add its own tokenizer.json beside the weights."
        )


def _load(path: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoProcessor

    if not has_torchvision():
        from todre.processing.assembly import assemble, can_assemble

        stock = _stock_class(path, trust_remote_code)
        if stock is not None and can_assemble(stock):
            return assemble(path, stock, trust_remote_code)
    return AutoProcessor.from_pretrained(path, trust_remote_code=trust_remote_code, local_files_only=True)


def _stock_class(path: Path, trust_remote_code: bool) -> Any | None:
    """Transformers' own processor class for a folder; None for any other class.

    The class is found as `AutoProcessor` finds it.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    files = [path / file for file in _NAMING_FILES]
    if trust_remote_code and any("AutoProcessor" in _read(file).get("auto_map", {}) for file in files):
        return None
    named = next((found for file in files if (found := _read(file).get("processor_class"))), None)
    if named is None:
        named = PROCESSOR_MAPPING_NAMES.get(_read(path / "config.json").get("model_type", ""))
    return processor_class_from_name(named) if named else None


def _read(file: Path) -> dict[str, Any]:
    if not os.path.lexists(file):
        return {}
    content = read_json(file, SETTINGS)
    return content if isinstance(content, dict) else {}
