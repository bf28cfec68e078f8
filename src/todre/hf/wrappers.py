"""Patches on one module instance, and the model inside its wrappers.

Wrappers (PEFT, `torch.compile`, DistributedDataParallel, FSDP, activation checkpointing) are recognised by documented
attributes, so none of their packages is imported. Patches always go on the inner module; so it makes no difference
whether the wrapper or the inner model is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from todre.errors import UnsupportedModelError
from todre.hf.versions import PreTrainedModel

_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Submodules in which wrappers keep the module that they wrap.

The names belong, in order, to torch.compile, FSDP, activation checkpointing and DistributedDataParallel.
"""

_ADAPTED = ("base_model", "model")
"""Submodules in which a PEFT model keeps its tuner, and the tuner its model."""

_ABSENT = object()

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


def inner_model(model: Any) -> Any:
    """The transformers model inside all wrappers; `model` itself if there is none.

    Raises:
        UnsupportedModelError: a wrapper whose forward cannot be followed from patches on the inner model.
    """
    inner = bare(model)
    return inner if isinstance(inner, PreTrainedModel) else model


def bare(module: Any) -> Any:
    """A model, or a part of one, without the wrappers around it.

    Raises:
        UnsupportedModelError: a wrapper whose forward cannot be followed from patches on the inner module.
    """
    while isinstance(module, nn.Module) and not isinstance(module, PreTrainedModel):
        # DataParallel copies the module for each device, and patches on the instance do not follow the copies.
        if isinstance(module, nn.DataParallel):
            raise UnsupportedModelError(
                "torch.nn.DataParallel runs copies of the model that pruning cannot follow; use "
                "DistributedDataParallel, or one model per process."
            )
        _check_adapters(module)
        # Only PEFT's models have a `peft_config`; `base_model` alone is also transformers' own name.
        names = _ADAPTED if hasattr(module, "peft_config") else _INNER
        within = next((part for name in names if (part := module._modules.get(name)) is not None), None)
        if within is None:
            return module
        module = within
    return module


def check_whole(model: PreTrainedModel) -> None:
    """Check that this process holds all heads of each layer of `model`.

    Raises:
        UnsupportedModelError: the model is split by tensor parallelism.
    """
    # transformers sets this when it loads a model with tensor parallelism (seen in 5.24).
    parts = getattr(model, "_tp_size", None) or 1
    if parts > 1:
        raise UnsupportedModelError(
            f"This model is split over {parts} processes by tensor parallelism, and each sees the attention of its own "
            "heads alone, so that they would not agree on what to drop; load it with device_map instead."
        )


def _check_adapters(wrapper: nn.Module) -> None:
    """Refuse PEFT adapters that change or count the prompt's columns.

    Raises:
        UnsupportedModelError: an adapter with virtual tokens or invocation tokens.
    """
    adapters = getattr(wrapper, "peft_config", None)
    for adapter in adapters.values() if isinstance(adapters, dict) else ():
        kind = getattr(adapter.peft_type, "value", adapter.peft_type)
        if getattr(adapter, "is_prompt_learning", False):
            raise UnsupportedModelError(
                f"PEFT's {kind} puts virtual tokens before the prompt, whose columns pruning does not know; "
                "use an adapter that changes weights, such as LoRA."
            )
        if getattr(adapter, "alora_invocation_tokens", None):
            raise UnsupportedModelError(
                "An activated LoRA (alora_invocation_tokens) counts columns of the prompt, which become fewer; "
                "use a LoRA without invocation tokens."
            )


class Removable(Protocol):
    """A change that can be undone."""

    def remove(self) -> None:
        """Undo the change."""


class ForwardPatch:
    """Puts `call` in place of the forward of `module`, from `put` to `remove`.

    Unlike a hook, the patch keeps the short path of `nn.Module.__call__` and costs next to nothing to put in and take
    out.

    Args:
        module: the module whose forward is replaced.
        call: called with the forward that it replaces, and the arguments of each call.
    """

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        self.module = module
        self.call = call
        self.before: Any = None
        self.forward: Any = None

    def put(self) -> ForwardPatch:
        """Put the patch in.

        If nothing else was put in meanwhile, the same function object as before is used, which compiled graphs
        recognise.
        """
        # On the instance, as accelerate's hooks do it (1.15): `nn.Module.__call__` then keeps its short path, and a
        # compiled graph notices, because it is guarded by which `forward` the instance has.
        attributes = vars(self.module)
        before = attributes.get("forward")
        if self.forward is None or before is not self.before:
            self.before = before
            self.forward = _with_signature(functools.partial(self.call, self.module.forward), self.module.forward)
        attributes["forward"] = self.forward
        return self

    @property
    def on_top(self) -> bool:
        """True if the patch is in place and no other forward was put over it."""
        return self.forward is not None and vars(self.module).get("forward") is self.forward

    def remove(self) -> None:
        """Take the patch out; a forward that was put over it stays."""
        _put_back(self.module, self.forward, self.before)


class InstancePatch:
    """Sets an attribute on one instance until `remove`.

    Args:
        owner: the instance.
        name: name of the attribute.
        value: its value until then.
    """

    def __init__(self, owner: Any, name: str, value: Any) -> None:
        self.attributes, self.name, self.value = vars(owner), name, value
        self.before = self.attributes.get(name, _ABSENT)
        self.attributes[name] = value

    def remove(self) -> None:
        """Put the earlier value back; a value that was set over this one stays."""
        if self.attributes.get(self.name) is not self.value:
            return
        if self.before is _ABSENT:
            del self.attributes[self.name]
        else:
            self.attributes[self.name] = self.before


class CompileGuard:
    """Makes torch.compile notice, until `remove`, that `module` got hooks.

    Args:
        module: the module that got hooks.
        eager: True to keep its forward, and all that it calls, out of compiled graphs.
    """

    def __init__(self, module: nn.Module, eager: bool = False) -> None:
        self.module = module
        # A graph compiled before hooks were added does not look for them, and would go on without. It is guarded by
        # which `forward` the instance has, so the instance gets one that calls what was there.
        self.before = vars(module).get("forward")
        self.forward = None if getattr(self.before, "todre_mark", False) else _pass_through(module.forward, eager)
        if self.forward is not None:
            vars(module)["forward"] = self.forward

    def remove(self) -> None:
        """Take the guard out; a forward that was put over it stays."""
        _put_back(self.module, self.forward, self.before)


def _put_back(module: nn.Module, forward: Any, before: Any) -> None:
    """Take `forward` out of the instance, unless another was put over it."""
    attributes = vars(module)
    if forward is None or attributes.get("forward") is not forward:
        return
    if before is None:
        del attributes["forward"]
    else:
        attributes["forward"] = before


def _pass_through(forward: Callable[..., Any], eager: bool) -> Callable[..., Any]:
    """A forward that only calls `forward`, as a new object."""
    # A partial, not a function: torch.compile keeps one graph per code object, so one function for all modules would
    # share its graphs among them.
    return _with_signature(functools.partial(no_compile(forward) if eager else forward), forward)


def _with_signature(mark: functools.partial[Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """The patch `mark`, with the name and signature of the forward that it calls."""
    # transformers reads the signature of `forward` (generate: which arguments the model takes, seen in 5.24).
    functools.update_wrapper(mark, forward)
    mark.todre_mark = True  # type: ignore[attr-defined]
    return mark


def in_forward(module: nn.Module) -> bool:
    """True if this thread's stack holds a forward of `module`.

    For a module without patches, only the stack tells. A compiled forward has other frames and is not found.
    """
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is module:
            return True
        frame = frame.f_back
    return False


def no_compile(function: CallableT) -> CallableT:
    """`function`, kept out of torch.compile's graphs with all that it calls."""
    return torch.compiler.disable(function)  # type: ignore[no-any-return]


def no_compile_shallow(function: CallableT) -> CallableT:
    """`function`, kept out of torch.compile's graphs without what it calls."""
    return torch.compiler.disable(function, recursive=False)  # type: ignore[no-any-return]
