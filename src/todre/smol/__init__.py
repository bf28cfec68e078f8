"""A LLaVA-NeXT with a pretrained decoder: the eyes of `todre-tiny` before SmolLM2-135M-Instruct.

The decoder's weights do not ship with todre: `todre smol fetch` gets them once, and they stay in todre's cache. What was
trained for this model ships as one file of a few megabytes per seed: the connector, the newline embedding and a LoRA of
the decoder. `smol` and `smol-1` are the same model trained with two seeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from todre.errors import LoadError

if TYPE_CHECKING:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

__all__ = ["SMOL", "SMOL_1", "load", "names", "part_path"]

SMOL = "smol"
"""Name of the model that was trained with seed 0."""
SMOL_1 = "smol-1"
"""Name of the model that was trained with seed 1."""
_SEEDS = {SMOL: 0, SMOL_1: 1}


def names() -> tuple[str, ...]:
    """Names of the models."""
    return tuple(_SEEDS)


def part_path(name: str = SMOL) -> Path:
    """The file that was trained for a model: connector, newline and LoRA.

    Raises:
        LoadError: this todre does not bring it.
    """
    file = Path(__file__).parent / "checkpoint" / f"seed-{_SEEDS[name]}.safetensors"
    if not file.is_file():
        raise LoadError(f"{name} was not trained yet when this todre was built ({file.name}); update todre.")
    return file


def load(name: str = SMOL) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """A model in float32 evaluation mode, and its processor.

    It is put together in the cache first, if that has not been done yet.

    Raises:
        LoadError: the decoder's weights are not in the cache, or this todre does not bring the model's own.
    """
    from todre.smol.assembled import assembled_path
    from todre.tiny import load as load_folder

    return load_folder(assembled_path(name))
