"""A LLaVA-NeXT with a pretrained decoder.

The eyes of `todre-tiny` stand before SmolLM2-135M-Instruct, whose weights do not ship with todre: `todre smol fetch`
gets them once, and they stay in todre's cache. What was trained for this model ships as one file of a few megabytes
per seed: the connector, the newline embedding and a LoRA of the decoder. `smol` and `smol-1` are the same model,
trained with two seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from todre.smol.parts import SMOL, SMOL_1, has_part, names, part_path

if TYPE_CHECKING:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

__all__ = ["SMOL", "SMOL_1", "has_part", "load", "names", "part_path"]


def load(name: str = SMOL) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """A model in float32 evaluation mode, and its processor.

    It is put together in the cache first, if that has not been done yet.

    Raises:
        LoadError: the decoder's weights are not in the cache, or this todre does not bring the model's own.
    """
    from todre.smol.assembled import assembled_path
    from todre.tiny import load as load_folder

    return load_folder(assembled_path(name))
