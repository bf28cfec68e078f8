"""Settings of greedy decoding, for each `generate` whose answers are compared."""

from __future__ import annotations

from typing import Any

SAMPLING = ("temperature", "top_p", "top_k")
"""Sampling settings of checkpoints; without None, transformers warns of them."""


def greedy_settings(max_new_tokens: int) -> dict[str, Any]:
    """Keyword arguments of `generate` for greedy decoding.

    They override the checkpoint's own settings.

    Args:
        max_new_tokens: longest answer, the closing token included.
    """
    return {"do_sample": False, **dict.fromkeys(SAMPLING), "num_beams": 1, "max_new_tokens": max_new_tokens}
