"""Hooks into `generate` that see each new token, and can end the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer


class _TokenStreamer(BaseStreamer):
    """Hands on the new tokens; the prompt, which comes first, is left out."""

    def __init__(self, on_token: Callable[[int], None]) -> None:
        self._on_token, self._prompt_came = on_token, False

    def put(self, value: Tensor) -> None:
        """Take the prompt, then one token after each step."""
        if not self._prompt_came:
            self._prompt_came = True
            return
        for token in value.tolist():
            self._on_token(int(token))

    def end(self) -> None:
        """Nothing is left to do at the end."""


class _Ended(StoppingCriteria):
    """Ends the answer after the step in which `ended` became true."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended

    def __call__(self, ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) bool, whether each row is done."""
        return torch.full((ids.shape[0],), self._ended(), device=ids.device, dtype=torch.bool)


def watching(on_token: Callable[[int], None], ended: Callable[[], bool]) -> dict[str, Any]:
    """Keyword arguments of `generate` that watch its tokens.

    They are for one row without beams.

    Args:
        on_token: called with each new token, the closing token included.
        ended: asked after each token; True ends the answer.
    """
    return {
        "streamer": _TokenStreamer(on_token),
        "stopping_criteria": StoppingCriteriaList([_Ended(ended)]),
    }


def closing_tokens(model: Any) -> frozenset[int]:
    """Tokens after which `generate` ends an answer by itself."""
    tokens = model.generation_config.eos_token_id
    return frozenset(tokens if isinstance(tokens, list | tuple) else [] if tokens is None else [tokens])
