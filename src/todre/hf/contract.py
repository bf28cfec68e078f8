"""Checks, at attach and after each prefill, that transformers works as expected.

todre replaces forwards, gives layers other arguments than their decoder's loop does, and puts its own layers into
caches. A release that renames a keyword or ignores these cache layers would not fail by itself: it would answer as if
nothing had been pruned, or wrongly. The checks take microseconds and wait for no device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import transformers
from torch import nn

from todre.errors import ContractError
from todre.hf import cache as kv
from todre.hf.calls import accepts_any, cache_of, named_parameters, naming_forward
from todre.hf.keywords import CACHE_NAMES, EMBEDS, IDS, MASK, POSITIONS
from todre.hf.versions import REQUIRED, DynamicLayer, StaticLayer, create_causal_mask, create_masks_for_generate
from todre.hf.wrappers import bare

_LAYER_METHODS = ("update", "lazy_initialization", "get_seq_length", "get_mask_sizes", "reset", "reorder_cache")
"""Methods that every cache layer of todre overrides or relies on."""
_GROWING_METHODS = (*_LAYER_METHODS, "batch_repeat_interleave", "batch_select_indices", "crop")
"""Methods that growing cache layers override or rely on."""

_MASK_OPTIONS = ("config", EMBEDS, MASK, "layer_idx", "allow_is_causal_skip")
"""Arguments of `create_causal_mask` that todre passes."""


def check_release(model: nn.Module, base: nn.Module, decoder: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Check that model parts, mask builders and caches take what todre passes them.

    Args:
        model: the whole model.
        base: the part of the model that encodes pictures and calls the decoder.
        decoder: the module with the layers.
        layers: the decoder's layers.

    Raises:
        ContractError: one of them does not.
    """
    for part in (model, base, decoder):
        _check_forward(naming_forward(type(part)), type(part).__name__, (IDS, EMBEDS, MASK, POSITIONS))
    kinds = {naming_forward(type(layer)): type(layer).__name__ for layer in map(bare, layers)}
    for forward, name in kinds.items():
        _check_forward(forward, name, (MASK,))
    _check_forward(create_causal_mask, "create_causal_mask", _MASK_OPTIONS)
    _check_forward(create_masks_for_generate, "create_masks_for_generate", (MASK,))
    _check_cache_classes(DynamicLayer, StaticLayer)


@functools.lru_cache(maxsize=256)
def _check_forward(function: Callable[..., Any], owner: str, needed: tuple[str, ...]) -> None:
    """Check that `function` names one known cache keyword and the `needed` ones.

    Raises:
        ContractError: it does not.
    """
    names = named_parameters(function)
    caches = [name for name in CACHE_NAMES if name in names]
    if len(caches) != 1:
        raise _contract_error(f"{owner} names its KV cache by {caches or 'none'} of {list(CACHE_NAMES)}, not by one")
    missing = [name for name in needed if name not in names]
    if missing:
        raise _contract_error(f"{owner} has no parameter {missing[0]!r}")
    if POSITIONS not in names and not accepts_any(function):
        raise _contract_error(f"{owner} takes no {POSITIONS!r}")


@functools.lru_cache(maxsize=8)
def _check_cache_classes(growing: type, static: type) -> None:
    """Check that both cache layer classes have what todre's subclasses override.

    Raises:
        ContractError: a method or an attribute is missing.
    """
    for kind, needed in ((growing, _GROWING_METHODS), (static, _LAYER_METHODS)):
        missing = [name for name in needed if not callable(getattr(kind, name, None))]
        if missing:
            raise _contract_error(f"the cache layer {kind.__name__} has no method {missing[0]!r}")
    layer = static(max_cache_len=1)
    for name in ("is_initialized", "max_cache_len", "cumulative_length"):
        if not hasattr(layer, name):
            raise _contract_error(f"the cache layer {static.__name__} has no attribute {name!r}")


def check_cache_filled(cache: Any, output: Any) -> None:
    """Check that the decoder filled the cache layers that it was called with.

    Only shapes on the host are compared.

    Args:
        cache: the cache of a prefill, whose layers have slot tables.
        output: what the decoder returned.

    Raises:
        ContractError: another cache came back, or a layer holds other slots than its table says.
    """
    came_back = cache_of(output)
    if came_back is not None and came_back is not cache:
        raise _contract_error(f"the decoder was given a {type(cache).__name__} and returned another cache")
    found = kv.first_mismatch(cache)
    if found is not None:
        raise _contract_error(f"after a prefill, the cache of {found}")


def _contract_error(what: str) -> ContractError:
    """The error for a transformers release that todre does not understand."""
    return ContractError(
        f"todre does not understand transformers {transformers.__version__}: {what}; "
        f"nothing was pruned. Install a release that is tested: pip install '{REQUIRED}'."
    )
