"""The small LLaVA-NeXT that ships with the package, trained on `todre.scenes` by `python -m todre.tiny.train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

__all__ = ["checkpoint_path", "load"]


def checkpoint_path() -> Path:
    """The directory with the shipped config, weights, tokenizer and processor, for `from_pretrained`."""
    return Path(__file__).parent / "checkpoint"


def load(
    path: str | Path | None = None,
) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """The shipped model (or another export) in float32 evaluation mode, and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source = Path(path) if path is not None else checkpoint_path()
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(source)
