"""Reading the mask that the caller gave, in whatever form it came."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.cache import is_static
from todre.compat import Cache
from todre.errors import UnsupportedInputError


def logical_mask(attention_mask: Any, cache: Cache | None, past: int, length: int) -> Tensor | None:
    """Which logical columns are not padding: (b, past + length) bool, or None where none is.

    Raises:
        UnsupportedInputError: the mask says more than padding does, so that shortening it would change its meaning.
    """
    if attention_mask is None:
        return None
    if not isinstance(attention_mask, Tensor):
        raise UnsupportedInputError(
            f"An attention mask of type {type(attention_mask).__name__} cannot be shortened; "
            "pass a 2-D mask of padding, or none."
        )
    if attention_mask.ndim == 2:
        if attention_mask.shape[1] < past + length:
            raise UnsupportedInputError(
                f"The attention mask covers {attention_mask.shape[1]} tokens, but the cache and the input hold "
                f"{past + length}; pass a mask over the whole conversation, or none."
            )
        return attention_mask[:, : past + length].to(torch.bool)
    static = cache is not None and bool(cache.layers) and is_static(cache.layers[0])
    if attention_mask.ndim != 4 or not static:
        raise UnsupportedInputError(
            f"A {attention_mask.ndim}-D attention mask of shape {tuple(attention_mask.shape)} cannot be shortened; "
            "pass a 2-D mask of padding, or none."
        )
    return _padding_of(attention_mask, past, length)


def _padding_of(mask: Tensor, past: int, length: int) -> Tensor:
    """The padding behind a 4-D mask that `generate` made for a static cache: causal and padding, nothing else."""
    allowed = mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0
    allowed = allowed[:, -length:, : past + length]
    valid = allowed[:, -1]
    query = torch.arange(past, past + length, device=mask.device)
    column = torch.arange(past + length, device=mask.device)
    expected = (column[None, :] <= query[:, None])[None] & valid[:, None]
    if not torch.equal(expected.expand_as(allowed), allowed):
        raise UnsupportedInputError(
            f"A custom 4-D attention mask of shape {tuple(mask.shape)} cannot be shortened; "
            "pass a 2-D mask of padding, or none."
        )
    return valid
