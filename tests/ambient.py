"""States of a process that must not matter to a model that says itself what it is: default dtype, device, autocast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_leaves
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import todre

SOURCE = str(Path(todre.__file__).parent)
TORCH = str(Path(torch.__file__).parent)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another dtype for what does not name its own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    """Another device for what does not name its own."""
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    """Operations that are not deterministic raise."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


class Defaults(TorchFunctionMode):
    """Makes todre's factories that name no device make their tensors on `meta`, and notes each tensor of todre's own
    making that is there, or that has the process's default dtype.

    `torch.set_default_device` does the first for all that runs, which some models of transformers do not bear.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtype, self.found = torch.get_default_dtype(), set[str]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _device_constructors() and kwargs.get("device") is None and _asking() is not None:
            kwargs["device"] = "meta"
        result = func(*args, **kwargs)
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and (one.dtype == self.dtype or one.device.type == "meta"):
                place = _asking()
                self.found |= set() if place is None else {f"{place} {getattr(func, '__name__', func)}"}
        return result


def _asking() -> str | None:
    """File and line of the innermost caller that is neither torch nor this file, if it is todre."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((TORCH, __file__)):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(SOURCE):
        return None
    return f"{frame.f_code.co_filename.removeprefix(SOURCE)}:{frame.f_lineno}"


@contextmanager
def watched_defaults() -> Iterator[None]:
    """Default dtype float16, which no model of the tests is in, and default device `meta` for todre: neither is used.

    What is in float16 got it from the process: by a factory without a dtype, by whole numbers divided, averaged or
    rooted, or by a choice between two Python numbers.
    """
    with default_dtype(torch.float16), Defaults() as watch:
        yield
    assert not watch.found


@contextmanager
def autocast_around(model: nn.Module) -> Iterator[None]:
    """Autocast for all but the model's own modules and its attention function.

    The model's numbers are then those of a run without autocast, bit for bit, and so must be all that is made of them.
    """
    with ExitStack() as undo:
        for module in model.modules():
            if not list(module.children()):
                _shield(module, undo)
        function = ALL_ATTENTION_FUNCTIONS["sdpa"]
        ALL_ATTENTION_FUNCTIONS["sdpa"] = _exact(function)
        undo.callback(ALL_ATTENTION_FUNCTIONS.__setitem__, "sdpa", function)
        with torch.autocast("cpu", torch.bfloat16):
            yield


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return call


def _shield(module: nn.Module, undo: ExitStack) -> None:
    module.forward = _exact(module.forward)
    undo.callback(vars(module).pop, "forward")


def states(model: nn.Module) -> dict[str, AbstractContextManager[None]]:
    """By name, states in which everything must be as it is without them."""
    return {
        "bfloat16": default_dtype(torch.bfloat16),
        "float64": default_dtype(torch.float64),
        "device": default_device("meta"),
        "watched": watched_defaults(),
        "deterministic": deterministic(),
        "inference": torch.inference_mode(),
        "autocast": autocast_around(model),
    }
