"""Imports from transformers that pruning relies on, and the supported releases.

One clear error is raised if a release lacks one of these names. Names of keyword arguments are in `hf/keywords.py`.
Rules of single models and image processors are imported by the modules that use them: `anyres`, `picture_rules`,
`picture_features`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import ContractError, UnsupportedModelError
from todre.hf.calls import DecoderCall, Door

REQUIRED = "transformers>=5.18,<5.25"
"""The releases that pass the tests, as in pyproject.toml."""

try:
    from transformers import PreTrainedModel
    from transformers.cache_utils import (
        Cache,
        CacheLayerMixin,
        DynamicCache,
        DynamicLayer,
        DynamicSlidingWindowLayer,
        LinearAttentionLayer,
        StaticLayer,
    )
    from transformers.masking_utils import create_causal_mask, create_masks_for_generate
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.vision_utils import get_vision_window_index
except ImportError as error:  # pragma: no cover - needs another transformers
    raise ImportError(f"todre needs {REQUIRED} ({error}); install it with: pip install '{REQUIRED}'") from error

_MASK_DOOR = Door(create_causal_mask)

masks_for_generate = create_masks_for_generate
"""The function by which `generate` builds masks for static caches."""

__all__ = [
    "REQUIRED",
    "ALL_ATTENTION_FUNCTIONS",
    "Cache",
    "CacheLayerMixin",
    "DynamicCache",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "LinearAttentionLayer",
    "PreTrainedModel",
    "StaticLayer",
    "attention_function",
    "causal_mask",
    "create_causal_mask",
    "create_masks_for_generate",
    "eager_function",
    "masks_for_generate",
    "window_order",
]


def eager_function(module: nn.Module) -> Callable[..., Any]:
    """The eager attention function of the file that defines `module`'s class.

    Raises:
        UnsupportedModelError: the file has none.
    """
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise UnsupportedModelError(
        f"{type(module).__name__} has no eager attention function in its file, so its attention cannot be read; "
        "load the model with attn_implementation='sdpa'."
    )


def attention_function(backend: str) -> Callable[..., Any] | None:
    """The attention function registered for `backend`; None for eager."""
    return ALL_ATTENTION_FUNCTIONS.get(backend)  # type: ignore[no-any-return]


def window_order(grids: Any, merge: int, window: int, patch: int) -> Tensor:
    """Picture units in the order of a tower's windows, (u,) int64 on the host.

    Args:
        grids: (pictures, 3), frames, rows and columns of patches.
        merge: patches along each side of a unit.
        window: pixels along each side of a window.
        patch: pixels along each side of a patch.
    """
    with torch.device("cpu"):  # it makes its tensors wherever the process's default device is
        sizes = torch.as_tensor(grids, dtype=torch.int64, device="cpu")
        order: Tensor = get_vision_window_index(sizes, merge, window, patch)[0]
    return order


class PhysicalLengths:
    """A stand-in for a cache that answers physical lengths to a mask builder.

    Args:
        slots: filled slots before the first query; a tensor for static caches.
        capacity: key slots of a static cache; None for one that grows.
    """

    # Mask builders ask a cache for this flag and for the lengths below.
    is_compileable = False

    def __init__(self, slots: int | Tensor, capacity: int | None) -> None:
        self.slots = slots
        self.capacity = capacity

    def get_query_offset(self, layer_idx: int = 0) -> int | Tensor:
        """The slot of the first query."""
        return self.slots

    get_seq_length = get_query_offset

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Number of key slots, and the index of the first slot."""
        if self.capacity is not None:
            return self.capacity, 0
        return int(self.slots) + query_length, 0


def causal_mask(
    config: Any, inputs_embeds: Tensor, valid: Tensor | None, slots: int | Tensor, capacity: int | None = None
) -> Any:
    """The causal mask of queries that follow cached slots, in the backend's form.

    Args:
        config: the decoder's config.
        inputs_embeds: (b, q, d); shape, dtype and device are read.
        valid: (b, slots + q) bool, False at padding; None where nothing is padding.
        slots: filled slots before the first query; a tensor for static caches.
        capacity: key slots of a static cache; None for one that grows.

    Raises:
        ContractError: transformers made a mask of another shape.
    """
    rest = {"config": config, "layer_idx": 0, "allow_is_causal_skip": capacity is None}
    lengths = PhysicalLengths(slots, capacity)
    call = DecoderCall(embeds=inputs_embeds, cache=lengths, mask=valid, rest=rest)
    mask = create_causal_mask(**_MASK_DOOR.write(call))
    if isinstance(mask, Tensor) and mask.ndim == 4:
        expected = (inputs_embeds.shape[1], capacity if capacity is not None else int(slots) + inputs_embeds.shape[1])
        made = tuple(mask.shape[-2:])
        if made != expected:
            raise ContractError(
                f"transformers made a mask of {made} queries and keys where todre asked for {expected}; "
                f"install a release that is tested: pip install '{REQUIRED}'."
            )
    return mask
