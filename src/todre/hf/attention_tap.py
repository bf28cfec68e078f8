"""The attention tap: read the queries and keys of one attention module as it runs.

While a module is watched, a dispatcher stands in the mapping of attention functions under the backend's own name. The
dispatcher calls the backend's function, and shows the watched module's queries and keys to a listener. It is put in
right before the module runs and taken out right after, also after an exception.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.hf.versions import ALL_ATTENTION_FUNCTIONS, attention_function, eager_function
from todre.hf.wrappers import CompileGuard, Removable, no_compile, no_compile_shallow
from todre.tensors.attention import AttentionInputs
from todre.tensors.autocast import no_autocast

Listener = Callable[[AttentionInputs], None]
"""A function that is shown the inputs of a watched attention module."""


_LOCK = threading.Lock()


class _Dispatcher:
    """Stands in for one attention backend while any thread watches a module."""

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self.function = function
        self.listeners: dict[tuple[int, nn.Module], tuple[Listener, ...]] = {}

    @no_compile_shallow
    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        listeners = self.listeners.get((threading.get_ident(), module))
        if listeners:
            with torch.no_grad(), no_autocast(query.device):
                inputs = _attention_inputs(query, key, value, args, kwargs)
                for listener in listeners:
                    listener(inputs)
        # Eager attention is not in the mapping: each modelling file passes its own function as the default.
        function = self.function if self.function is not None else eager_function(module)
        return function(module, query, key, value, *args, **kwargs)


def _attention_inputs(
    query: Tensor, key: Tensor, value: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AttentionInputs:
    """The inputs of one attention function call, as a record.

    Raises:
        UnsupportedModelError: the attention has sinks.
    """
    # Models with attention sinks pass them to the attention function as s_aux (seen in 5.24).
    if kwargs.get("s_aux") is not None:
        raise UnsupportedModelError(
            "This model's attention has sinks that take a share of every row, which are not read; "
            "use stages=(1,) and pivot='random'."
        )
    scaling = kwargs.get("scaling")
    mask = kwargs.get("attention_mask", args[0] if args else None)
    return AttentionInputs(
        query,
        key,
        float(scaling) if scaling is not None else query.shape[-1] ** -0.5,
        mask if isinstance(mask, Tensor) else None,
        kwargs.get("softcap"),
        kwargs.get("cu_seq_lens_q"),
        value,
    )


def _start(backend: str, module: nn.Module, listener: Listener) -> None:
    """Add `listener`, and put `backend`'s dispatcher in if it is not there yet."""
    with _LOCK:
        # Layers look their function up by the backend's name at each call (`get_interface`, seen in 5.24). The name
        # stays as it is, because mask builders and flash attention look it up too.
        current = attention_function(backend)
        if not isinstance(current, _Dispatcher):
            current = _Dispatcher(current)
            ALL_ATTENTION_FUNCTIONS[backend] = current
        key = threading.get_ident(), module
        current.listeners[key] = (*current.listeners.get(key, ()), listener)


def _stop(backend: str, module: nn.Module, listener: Listener) -> None:
    """Remove `listener`, and the dispatcher when no listener is left."""
    with _LOCK:
        current = attention_function(backend)
        if not isinstance(current, _Dispatcher):
            return
        key = threading.get_ident(), module
        left = tuple(each for each in current.listeners.pop(key, ()) if each is not listener)
        if left:
            current.listeners[key] = left
        if not current.listeners:
            # The mapping has local entries over global ones: deleting the local one brings the global one back.
            del ALL_ATTENTION_FUNCTIONS[backend]
            if attention_function(backend) is not current.function:
                ALL_ATTENTION_FUNCTIONS[backend] = current.function


@contextmanager
def watching(module: nn.Module, listener: Listener) -> Iterator[None]:
    """Show `module`'s queries and keys to `listener` inside the block, in this thread."""
    backend: Any = module.config._attn_implementation  # type: ignore[union-attr]
    _start(backend, module, listener)
    try:
        yield
    finally:
        _stop(backend, module, listener)


def watch(module: nn.Module, listener: Listener, when: Callable[[], bool]) -> list[Removable]:
    """Show `module`'s queries and keys to `listener` wherever `when()` is true.

    Args:
        module: an attention module whose config names its backend.
        listener: called with tensors that it must not change.
        when: called right before each forward of the module, in the thread that runs it.

    Returns:
        Handles; removing them ends the watch.
    """
    started = threading.local()

    @no_compile
    def before(module: nn.Module, args: Any) -> None:
        if when():
            started.backend = module.config._attn_implementation  # type: ignore[union-attr]
            _start(started.backend, module, listener)

    @no_compile
    def after(module: nn.Module, args: Any, output: Any) -> None:
        backend = getattr(started, "backend", None)
        if backend is not None:
            started.backend = None
            _stop(backend, module, listener)

    return [
        module.register_forward_pre_hook(before),
        module.register_forward_hook(after, always_call=True),
        CompileGuard(module, eager=True),
    ]


def attention_modules(tower: nn.Module) -> list[nn.Module]:
    """The attention modules of a transformer, in the order of its layers.

    They are recognised by class name and config. The types of their projections say nothing, since adapters and
    quantisation replace them. Of nested attention modules only the innermost counts, since it does the work.
    """
    found = [module for module in tower.modules() if _is_attention(module)]
    return [
        module for module in found if not any(_is_attention(part) for part in module.modules() if part is not module)
    ]


def layers_of_whole_pictures(vision_config: Any) -> tuple[int, ...]:
    """The layers of a vision tower, from 0, that see whole pictures.

    The other layers see windows; empty if all layers see whole pictures.
    """
    # The towers of Qwen2.5-VL and Qwen2.5-Omni name them so (seen in 5.24).
    return tuple(getattr(vision_config, "fullatt_block_indexes", None) or ())


def _is_attention(module: nn.Module) -> bool:
    """True if a module is named as attention and its config names a backend."""
    named = "Attention" in type(module).__name__
    return named and hasattr(getattr(module, "config", None), "_attn_implementation")
