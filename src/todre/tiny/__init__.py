"""The small models that ship with the package, and the code that trains them.

`todre-tiny` is a LLaVA-NeXT of a few million parameters for single pictures; `todre-tiny-video` is the same model
trained further on several pictures and on clips. Both learn from the synthetic pictures of `todre.scenes`;
`python -m todre.tiny.train` runs the training. Loading of other checkpoints belongs to `todre.loading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

__all__ = ["SHIPPED", "SHIPPED_VIDEO", "checkpoint_path", "load", "names"]

SHIPPED = "todre-tiny"
"""Name of the default model, a LLaVA-NeXT for single pictures."""
SHIPPED_VIDEO = "todre-tiny-video"
"""Name of the model for several pictures and clips, a LLaVA-NeXT-Video."""
_FOLDERS = {SHIPPED: "checkpoint", SHIPPED_VIDEO: "checkpoint-video"}


def names() -> tuple[str, ...]:
    """Names of the shipped models."""
    return tuple(_FOLDERS)


def checkpoint_path(name: str = SHIPPED) -> Path:
    """The directory of a shipped checkpoint, as `from_pretrained` reads it.

    It holds the config, weights, tokenizer and processor.
    """
    return Path(__file__).parent / _FOLDERS[name]


def load(
    path: str | Path | None = None,
) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """A shipped model in float32 evaluation mode, and its processor.

    Args:
        path: directory of another exported model; None for `todre-tiny`.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source = Path(path) if path is not None else checkpoint_path()
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(source)
