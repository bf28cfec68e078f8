"""Patches on a decoder's layers and rotary embeddings, in use only while needed.

Outside a step the layers run without a hook.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import attention_modules, watching
from todre.hf.decoder import Decoder
from todre.hf.layer_calls import rotary_positions, with_rotary_positions
from todre.hf.wrappers import ForwardPatch, no_compile, no_compile_shallow
from todre.runtime.between_layers import before_layer
from todre.runtime.positions import match_axes
from todre.runtime.step import Step
from todre.tensors.attention import AttentionInputs


class LayerPatches:
    """Rewrites the arguments of a decoder's layers while a step runs; one per thread.

    Args:
        decoder: the decoder whose layers are patched.
        attention_layers: layers (1-based) whose attention is read.
    """

    def __init__(self, decoder: Decoder, attention_layers: Sequence[int]) -> None:
        layers = list(decoder.layers)
        self.attention_of = {layer: _attention_of(layers[layer - 1]) for layer in attention_layers}
        self.local = threading.local()
        self.users, self.lock, self.closed = 0, threading.Lock(), False
        self.patches = [ForwardPatch(rotary, self._rotary) for rotary in decoder.rotary]
        self.patches += [ForwardPatch(layer, functools.partial(self._layer, at)) for at, layer in enumerate(layers)]

    @property
    def step(self) -> Step | None:
        """The step of this thread's decoder forward, while it runs."""
        return getattr(self.local, "step", None)

    @contextmanager
    def running(self, step: Step | None) -> Iterator[None]:
        """Let `step` rewrite this thread's layer arguments inside the block."""
        outer = self.step
        step = step if step is not None and step.rewrites else None
        if step is None and outer is None:
            yield
            return
        self.local.step = step
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            self.local.step = outer

    def close(self) -> None:
        """Let no more steps act, and drop the patches once no step uses them."""
        with self.lock:
            self.closed = True
            if not self.users:
                self.patches = []

    def _count(self, more: int) -> None:
        """Count threads in a step: the first puts the patches in, the last takes them out."""
        with self.lock:
            before, self.users = self.users, self.users + more
            if not before:
                for each in self.patches:
                    each.put()
            elif not self.users:
                for each in reversed(self.patches):
                    each.remove()
                if self.closed:
                    self.patches = []

    @no_compile_shallow
    def _layer(self, index: int, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The output of the layer with index `index` (from 0), with rewritten arguments."""
        args, kwargs, watched = self._arguments(index, args, kwargs)
        if watched is None:
            return forward(*args, **kwargs)
        with watching(watched, _Listener(self, index + 1)):
            return no_compile(forward)(*args, **kwargs)

    @no_compile
    def _arguments(
        self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], nn.Module | None]:
        """Arguments of the layer with index `index` (from 0), and the attention to watch.

        The attention module is None if this forward does not read it.
        """
        step = self.step
        if step is None:
            return args, kwargs, None
        passed = args[1:], kwargs
        args, kwargs = before_layer(step, index, args, kwargs) or (args, kwargs)
        watched = self.attention_of.get(index + 1)
        if watched is None or not step.wants(index + 1):
            return args, kwargs, None
        step.answers.passed[index + 1] = passed
        return args, kwargs, watched

    @no_compile_shallow
    def _rotary(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The output of a rotary embedding, at the step's own positions."""
        step = self.step
        if step is not None and step.rotary_positions is not None:
            real = match_axes(step.rotary_positions, rotary_positions(args, kwargs))
            args, kwargs = with_rotary_positions(args, kwargs, real)
        return forward(*args, **kwargs)


class _Listener:
    """Stores the queries and keys of layer `layer` (1-based) in the step."""

    def __init__(self, patches: LayerPatches, layer: int) -> None:
        self.patches, self.layer = patches, layer

    def __call__(self, attention_inputs: AttentionInputs) -> None:
        step = self.patches.step
        if step is not None:
            step.answers.attention[self.layer] = attention_inputs


def _attention_of(layer: nn.Module) -> nn.Module:
    """The attention module of a layer.

    Raises:
        UnsupportedModelError: the layer has none, or several.
    """
    found = attention_modules(layer)
    if len(found) != 1:
        raise UnsupportedModelError(
            f"A layer of type {type(layer).__name__} has {len(found)} attention modules, so stage 2 cannot read "
            "its attention; use stages=(1,)."
        )
    return found[0]
