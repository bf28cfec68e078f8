"""Queries and keys of every decoder layer of an unpruned model, for listeners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.decoder import decoder_of
from todre.hf.wrappers import Removable
from todre.tensors.attention import AttentionInputs

Listener = Callable[[int, AttentionInputs], None]
"""Called with a layer (1-based) and the inputs of its attention."""


def attending_layers(model: Any) -> list[int]:
    """Layers (1-based) that have attention; other layers carry a state between tokens."""
    decoder = decoder_of(model)
    return [index + 1 for index in range(decoder.n_layers) if decoder.attends(index)]


@contextmanager
def watching(model: Any, listener: Listener) -> Iterator[None]:
    """Show `listener` each layer's attention in every forward inside the block.

    The model is left as it was.

    Raises:
        UnsupportedModelError: a layer has no attention module that can be followed.
    """
    layers = decoder_of(model).layers
    handles: list[Removable] = []
    try:
        for layer in attending_layers(model):
            found = attention_modules(layers[layer - 1])
            if len(found) != 1:
                raise UnsupportedModelError(
                    f"Layer {layer} is a {type(layers[layer - 1]).__name__} with {len(found)} attention modules, "
                    "and one is needed to look at; use a model with a Llama-like decoder."
                )
            handles += watch(found[0], _Named(layer, listener), when=lambda: True)
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Named:
    """A listener to one layer's attention, which passes on the layer's number."""

    def __init__(self, layer: int, listener: Listener) -> None:
        self.layer, self.listener = layer, listener

    def __call__(self, inputs: AttentionInputs) -> None:
        self.listener(self.layer, inputs)
