"""Settings of exact greedy decoding, and of sampling.

Every `generate` that is compared is greedy.
"""

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


def sampled_settings(max_new_tokens: int, temperature: float, top_p: float) -> dict[str, Any]:
    """Keyword arguments of `generate` for sampling from the whole vocabulary.

    They override the checkpoint's own settings, and transformers' default of `top_k` (50 in 5.24).

    Args:
        max_new_tokens: longest answer, the closing token included.
        temperature: above 0.
        top_p: share of the probability that the tokens to choose from make up; 1 for all tokens.
    """
    chosen = {"temperature": temperature, "top_p": top_p, "top_k": 0}
    return {"do_sample": True, **chosen, "num_beams": 1, "max_new_tokens": max_new_tokens}
