"""Find the model inside what people wrap around it, and keep hooks in force where torch.compile is at work.

Wrappers are known by the attributes that they document, so that none of their packages is imported here: PEFT's
models, `torch.compile`'s, DistributedDataParallel, FSDP and activation checkpointing. What is hooked is always the
inner module; calling the wrapper or the inner model then comes to the same.
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
"""Where torch.compile, FSDP, activation checkpointing, and DistributedDataParallel keep what they wrap."""

_ADAPTED = ("base_model", "model")
"""Where PEFT's models keep the tuner, and where that keeps the model."""

_ABSENT = object()

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


def inner_model(model: Any) -> Any:
    """The transformers model inside `model`, however often it was wrapped; `model` itself if there is none.

    Raises:
        UnsupportedModelError: a wrapper whose forward cannot be followed from hooks on the inner model.
    """
    inner = bare(model)
    return inner if isinstance(inner, PreTrainedModel) else model


def bare(module: Any) -> Any:
    """`module`, a model or a part of one, without the wrappers around it.

    Raises:
        UnsupportedModelError: a wrapper whose forward cannot be followed from hooks on the inner module.
    """
    while isinstance(module, nn.Module) and not isinstance(module, PreTrainedModel):
        if isinstance(module, nn.DataParallel):
            raise UnsupportedModelError(
                "torch.nn.DataParallel runs copies of the model that pruning cannot follow; use "
                "DistributedDataParallel, or one model per process."
            )
        _check_adapters(module)
        names = _ADAPTED if hasattr(module, "peft_config") else _INNER
        within = next((part for name in names if (part := module._modules.get(name)) is not None), None)
        if within is None:
            return module
        module = within
    return module


def check_whole(model: PreTrainedModel) -> None:
    """Raise `UnsupportedModelError` if this process holds but a part of each layer of `model`."""
    parts = getattr(model, "_tp_size", None) or 1
    if parts > 1:
        raise UnsupportedModelError(
            f"This model is split over {parts} processes by tensor parallelism, and each sees the attention of its own "
            "heads alone, so that they would not agree on what to drop; load it with device_map instead."
        )


def _check_adapters(wrapper: nn.Module) -> None:
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
        """Undo it."""


class ForwardPatch:
    """Lets `call` stand in for the forward of `module`, from `put` to `remove`.

    Unlike a hook it keeps the short path of `nn.Module.__call__`, costs next to nothing to put in and take out, and
    torch.compile notices it: a graph looks whether the instance has a `forward` of its own, and which.

    Args:
        module: whose forward is stood in for.
        call: called with what was there, the arguments and the keyword arguments of each forward.
    """

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        self.module = module
        self.call = call
        self.before: Any = None
        self.forward: Any = None

    def put(self) -> ForwardPatch:
        """Stand in, by the same object as before if nobody else has stepped between: graphs know it again."""
        attributes = vars(self.module)
        before = attributes.get("forward")
        if self.forward is None or before is not self.before:
            self.before = before
            self.forward = _with_signature(functools.partial(self.call, self.module.forward), self.module.forward)
        attributes["forward"] = self.forward
        return self

    @property
    def on_top(self) -> bool:
        """Whether it stands in, and nobody has put another forward over it."""
        return self.forward is not None and vars(self.module).get("forward") is self.forward

    def remove(self) -> None:
        """Leave the module as it was."""
        _put_back(self.module, self.forward, self.before)


class InstancePatch:
    """An attribute put on one instance, over what its class or itself had there, until `remove`.

    Args:
        owner: the instance.
        name: of the attribute.
        value: what it is from now on.
    """

    def __init__(self, owner: Any, name: str, value: Any) -> None:
        self.attributes, self.name, self.value = vars(owner), name, value
        self.before = self.attributes.get(name, _ABSENT)
        self.attributes[name] = value

    def remove(self) -> None:
        """Put back what was there, unless somebody has put another on top: that stays."""
        if self.attributes.get(self.name) is not self.value:
            return
        if self.before is _ABSENT:
            del self.attributes[self.name]
        else:
            self.attributes[self.name] = self.before


class CompileGuard:
    """Makes torch.compile notice that `module` got hooks, until `remove`.

    A graph that was compiled before hooks were added does not look for them, and would go on without. It does look
    whether the instance has a `forward` of its own, and which; so it gets one, that calls what was there.

    Args:
        module: what got hooks.
        eager: keep its forward, and all that it calls, out of graphs.
    """

    def __init__(self, module: nn.Module, eager: bool = False) -> None:
        self.module = module
        self.before = vars(module).get("forward")
        self.forward = None if getattr(self.before, "todre_mark", False) else _pass_through(module.forward, eager)
        if self.forward is not None:
            vars(module)["forward"] = self.forward

    def remove(self) -> None:
        """Leave the module as it was."""
        _put_back(self.module, self.forward, self.before)


def _put_back(module: nn.Module, forward: Any, before: Any) -> None:
    """Take `forward` out of the instance again, unless somebody else has put another on top of it."""
    attributes = vars(module)
    if forward is None or attributes.get("forward") is not forward:
        return
    if before is None:
        del attributes["forward"]
    else:
        attributes["forward"] = before


def _pass_through(forward: Callable[..., Any], eager: bool) -> Callable[..., Any]:
    """A `forward` that is another object; not a function, which would be compiled once for all modules together."""
    return _with_signature(functools.partial(no_compile(forward) if eager else forward), forward)


def _with_signature(mark: functools.partial[Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """`mark`, with the signature of the `forward` that it calls."""
    functools.update_wrapper(mark, forward)
    mark.todre_mark = True  # type: ignore[attr-defined]
    return mark


def in_forward(module: nn.Module) -> bool:
    """Whether this thread is in a forward of `module`, as its stack tells: nothing else is known of an untouched one.

    One that was compiled has other frames and is not found.
    """
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is module:
            return True
        frame = frame.f_back
    return False


def no_compile(function: CallableT) -> CallableT:
    """`function`, which torch.compile runs as it is, between two graphs."""
    return torch.compiler.disable(function)  # type: ignore[no-any-return]


def no_compile_shallow(function: CallableT) -> CallableT:
    """`function`, which torch.compile runs as it is, but not what it calls."""
    return torch.compiler.disable(function, recursive=False)  # type: ignore[no-any-return]
