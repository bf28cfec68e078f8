"""The small models that ship with the package, trained on `todre.scenes` by `python -m todre.tiny.train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

__all__ = ["SHIPPED", "SHIPPED_VIDEO", "checkpoint_path", "load", "names"]

SHIPPED = "todre-tiny"
"""Name of the model that stands where none is named: single pictures, LLaVA-NeXT."""
SHIPPED_VIDEO = "todre-tiny-video"
"""Name of the same model trained further on several pictures and clips, LLaVA-NeXT-Video."""
_FOLDERS = {SHIPPED: "checkpoint", SHIPPED_VIDEO: "checkpoint-video"}


def names() -> tuple[str, ...]:
    """Names of the models that ship."""
    return tuple(_FOLDERS)


def checkpoint_path(name: str = SHIPPED) -> Path:
    """The directory with a shipped config, weights, tokenizer and processor, for `from_pretrained`."""
    return Path(__file__).parent / _FOLDERS[name]


def load(
    path: str | Path | None = None,
) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """The shipped model (or another export) in float32 evaluation mode, and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source = Path(path) if path is not None else checkpoint_path()
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(source)
