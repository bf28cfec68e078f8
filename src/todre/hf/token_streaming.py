"""Hooks into `generate` that see each new token, and can end the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList


class _Watcher(StoppingCriteria):
    """Hands on each new token, and ends the answer where `ended` is true then."""

    # As a criterion and not as a streamer: a streamer is told a token after the criteria were asked (5.24), so that an
    # answer would end a token late.
    def __init__(self, on_token: Callable[[int], None], ended: Callable[[], bool]) -> None:
        self._on_token, self._ended, self._seen = on_token, ended, 0

    def __call__(self, ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) bool, whether each row is done."""
        for token in ids[0, self._seen or -1 :].tolist():
            self._on_token(int(token))
        self._seen = ids.shape[1]
        return torch.full((ids.shape[0],), self._ended(), device=ids.device, dtype=torch.bool)


def watching(on_token: Callable[[int], None], ended: Callable[[], bool]) -> dict[str, Any]:
    """Keyword arguments of `generate` that watch its tokens.

    They are for one row without beams.

    Args:
        on_token: called with each new token, the closing token included.
        ended: asked after each token; True ends the answer.
    """
    return {"stopping_criteria": StoppingCriteriaList([_Watcher(on_token, ended)])}


def closing_tokens(model: Any) -> frozenset[int]:
    """Tokens after which `generate` ends an answer by itself."""
    tokens = model.generation_config.eos_token_id
    return frozenset(tokens if isinstance(tokens, list | tuple) else [] if tokens is None else [tokens])
