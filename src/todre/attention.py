"""See the queries and keys of one attention module, and sum attention mass without an attention map.

transformers looks its attention function up by the backend's name at each call. While a module is watched, a
dispatcher stands under that same name, calls the function it stands for, and shows the watched module's queries and
keys to the listener. It is put in right before the module runs and taken out right after, also after an exception.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from todre.compat import ALL_ATTENTION_FUNCTIONS, attention_function, eager_function

Listener = Callable[[Tensor, Tensor, float], None]
"""Called with queries (b, heads, q, d) and keys (b, kv_heads, s, d), positions applied, and the scale of the logits."""

_LOCK = threading.Lock()
_ROWS_AT_ONCE = 128


class _Dispatcher:
    """Stands in for one backend while at least one module is watched, by any thread."""

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self.function = function
        self.listeners: dict[tuple[int, nn.Module], Listener] = {}

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        listener = self.listeners.get((threading.get_ident(), module))
        if listener is not None:
            scaling = kwargs.get("scaling")
            listener(query, key, float(scaling) if scaling is not None else query.shape[-1] ** -0.5)
        function = self.function if self.function is not None else eager_function(module)
        return function(module, query, key, value, *args, **kwargs)


def _start(backend: str, module: nn.Module, listener: Listener) -> None:
    with _LOCK:
        current = attention_function(backend)
        if not isinstance(current, _Dispatcher):
            current = _Dispatcher(current)
            ALL_ATTENTION_FUNCTIONS[backend] = current
        current.listeners[threading.get_ident(), module] = listener


def _stop(backend: str, module: nn.Module) -> None:
    with _LOCK:
        current = attention_function(backend)
        if not isinstance(current, _Dispatcher):
            return
        current.listeners.pop((threading.get_ident(), module), None)
        if not current.listeners:
            del ALL_ATTENTION_FUNCTIONS[backend]
            if attention_function(backend) is not current.function:
                ALL_ATTENTION_FUNCTIONS[backend] = current.function


def watch(module: nn.Module, listener: Listener, when: Callable[[], bool]) -> list[RemovableHandle]:
    """Show `module`'s queries and keys to `listener` at each forward in which `when()` is true.

    Args:
        module: an attention module with a `config` whose `_attn_implementation` names its backend.
        listener: sees tensors that it must not change.
        when: asked right before the module runs.

    Returns:
        Handles; removing them ends the watch.
    """
    started = threading.local()

    def before(module: nn.Module, args: Any) -> None:
        if when():
            started.backend = module.config._attn_implementation  # type: ignore[union-attr]
            _start(started.backend, module, listener)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        backend = getattr(started, "backend", None)
        if backend is not None:
            started.backend = None
            _stop(backend, module)

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True)]


def attention_modules(tower: nn.Module) -> list[nn.Module]:
    """The attention modules of a transformer, in the order of its layers."""
    found = []
    for module in tower.modules():
        projections = {name for name, _ in module.named_children()}
        if projections & {"q_proj", "qkv", "qkv_proj"} and hasattr(module, "config"):
            found.append(module)
    return found


def attention_mass(
    query: Tensor, key: Tensor, scaling: float, rows: Tensor, groups: Sequence[Tensor], allowed: Tensor
) -> list[Tensor]:
    """Probability mass that query rows put on groups of keys, averaged over heads after the softmax.

    No (q, s) map is made: rows are taken in blocks, in float32.

    Args:
        query: (b, heads, q, d) with positions applied.
        key: (b, kv_heads, s, d) with positions applied; the last q keys belong to the queries.
        scaling: factor on the logits.
        rows: (b, q) bool, the query rows asked for.
        groups: (b, s) bool masks of keys.
        allowed: (b, s) bool, keys that are not padding.

    Returns:
        For each group, (b, q) float32: the mass of each asked row, 0 in the others.
    """
    queries, slots = query.shape[2], key.shape[2]
    asked = rows.any(dim=0).nonzero().flatten()
    results = [torch.zeros(query.shape[0], queries, device=query.device) for _ in groups]
    repeats = query.shape[1] // key.shape[1]
    slot = torch.arange(slots, device=query.device)
    for block in asked.split(_ROWS_AT_ONCE):
        q = query[:, :, block].unflatten(1, (key.shape[1], repeats))
        logits = torch.einsum("bgrqd,bgsd->bgrqs", q, key).float() * scaling
        causal = slot[None, :] <= (slots - queries + block)[:, None]
        visible = allowed[:, None, :] & causal[None]
        logits = logits.masked_fill(~visible[:, None, None], float("-inf"))
        probabilities = logits.softmax(dim=-1).nan_to_num(0.0).mean(dim=(1, 2))
        for result, group in zip(results, groups, strict=True):
            mass = torch.einsum("bqs,bs->bq", probabilities, group.to(probabilities.dtype))
            result[:, block] = mass.masked_fill(~rows[:, block], 0.0)
    return results


def cls_attention(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Attention of a vision tower's [CLS] (token 0) to the patches, averaged over heads, (tiles, patches) float32.

    ToDRE eq. 3, with each head normalised over all keys as the tower's softmax does, and the [CLS] key dropped.
    """
    logits = torch.einsum("bhd,bhsd->bhs", query[:, :, 0].float(), key.float()) * scaling
    return logits.softmax(dim=-1).mean(dim=1)[:, 1:]


def received_attention(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Mean attention that each token of a vision tower receives, averaged over heads and queries, (tiles, tokens).

    Queries are taken in blocks, so no whole map is made. For towers without a [CLS] (ToDRE v2, section 4.1).
    """
    total = torch.zeros(key.shape[0], key.shape[2], device=key.device)
    for block in query.split(_ROWS_AT_ONCE, dim=2):
        logits = torch.einsum("bhqd,bhsd->bhqs", block.float(), key.float()) * scaling
        total += logits.softmax(dim=-1).mean(dim=1).sum(dim=1)
    return total / query.shape[2]
