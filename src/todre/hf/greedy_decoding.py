"""Settings of exact greedy decoding, used by every `generate` that is compared."""

from __future__ import annotations

from typing import Any

SAMPLING = ("temperature", "top_p", "top_k")
"""Sampling settings that checkpoints bring.

transformers warns of them beside `do_sample=False` unless they are None (seen in 5.24).
"""


def greedy_settings(max_new_tokens: int) -> dict[str, Any]:
    """Keyword arguments of `generate` for greedy decoding.

    They override the checkpoint's own settings.

    Args:
        max_new_tokens: longest answer, the closing token included.
    """
    return {"do_sample": False, **dict.fromkeys(SAMPLING), "num_beams": 1, "max_new_tokens": max_new_tokens}
