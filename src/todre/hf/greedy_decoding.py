<<<<<<< HEAD:src/todre/hf/greedy_decoding.py
"""Settings of exact greedy decoding, for every `generate` that is compared."""
=======
"""Settings of greedy decoding, for each `generate` whose answers are compared."""
>>>>>>> voice-runtime:src/todre/hf/greedy.py

from __future__ import annotations

from typing import Any

SAMPLING = ("temperature", "top_p", "top_k")
<<<<<<< HEAD:src/todre/hf/greedy_decoding.py
"""Sampling settings that checkpoints bring.

transformers warns of them beside `do_sample=False` unless they are None (seen in 5.24).
"""
=======
"""Sampling settings of checkpoints; without None, transformers warns of them."""
>>>>>>> voice-runtime:src/todre/hf/greedy.py


def greedy_settings(max_new_tokens: int) -> dict[str, Any]:
    """Keyword arguments of `generate` for greedy decoding.

<<<<<<< HEAD:src/todre/hf/greedy_decoding.py
    They hold whatever the checkpoint's own settings are.
=======
    They override the checkpoint's own settings.
>>>>>>> voice-runtime:src/todre/hf/greedy.py

    Args:
        max_new_tokens: longest answer, the closing token included.
    """
    return {"do_sample": False, **dict.fromkeys(SAMPLING), "num_beams": 1, "max_new_tokens": max_new_tokens}
