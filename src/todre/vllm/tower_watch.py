"""Signals of a vision tower that vLLM runs, read while pictures are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.hf.keywords import BOUNDS
from todre.hf.leading_tokens import Leading
from todre.tensors.attention import AttentionInputs
from todre.tensors.token_facts import Signal
from todre.tower.signals import layer_index, read_signal, signal_kind, whole_layer
from todre.vllm.last_layer import LastLayer


class TowerWatch(nn.Module):
    """Reads the signals that a method asks for.

    Args:
        layers: the layers of the tower that vLLM has built; those behind the features are missing.
        attention: where a layer has the module that is called with queries and keys.
        vision_config: the tower's config.
        leading: tokens before the tower's patches; None if they are not known.
        readable: whether the family's signals can be followed to its visual tokens.
        requests: the signals that the method reads.

    Raises:
        UnsupportedModelError: the tower has no such signal, or lacks the layer.
    """

    def __init__(
        self,
        layers: nn.ModuleList,
        attention: str,
        vision_config: Any,
        leading: Leading | None,
        readable: bool,
        requests: tuple[Signal, ...],
    ) -> None:
        super().__init__()
        self.before = 0 if leading is None else leading.count
        self.recorded: dict[Signal, list[Tensor]] | None = None
        self.last: LastLayer | None = None
        name = str(getattr(vision_config, "model_type", "of this model"))
        self.kinds: dict[Signal, str] = {}
        for request in requests:
            kind = signal_kind(request, leading, name, readable)
            if kind is not None:
                self.kinds[request] = kind
                depth = getattr(vision_config, "num_hidden_layers", None) or vision_config.depth
                index = whole_layer(layer_index(request.layer, depth, name), kind, vision_config)
                self._watch(layers, attention, index, depth, vision_config, request)

    def _watch(
        self, layers: nn.ModuleList, attention: str, index: int, depth: int, vision_config: Any, request: Signal
    ) -> None:
        """Listen to a layer, or to the one before it where vLLM has left it out."""
        if index < len(layers):
            module = attrgetter(attention)(layers[index])
            if getattr(getattr(module, "attn_backend", None), "name", "") == "FLASHINFER":
                raise UnsupportedModelError(
                    "With FLASHINFER as the encoder's attention, pictures are padded in ways that signals are not read "
                    "through; choose another --mm-encoder-attn-backend."
                )
            module.register_forward_pre_hook(partial(self._heard, request), with_kwargs=True)
            return
        if index != len(layers) or index != depth - 1 or attention != LastLayer.ATTENTION:
            raise UnsupportedModelError(
                f"Layer {index} of the vision tower is asked for, and vLLM builds the first {len(layers)} of "
                f"{depth}; use a method that reads another layer, or none, such as divprune."
            )
        if self.last is None:
            self.last = LastLayer(vision_config, like=attrgetter("layer_norm1.weight")(layers[-1]))
        layers[-1].register_forward_hook(partial(self._passed_on, request))

    def _heard(self, request: Signal, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.recorded is not None:
            self._record(request, attention_inputs(module, args, kwargs))

    def _passed_on(self, request: Signal, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.recorded is not None:
            assert self.last is not None
            states = output[0] if isinstance(output, tuple) else output
            self._record(request, self.last(states, first_only=self.kinds[request] == "cls"))

    def _record(self, request: Signal, inputs: AttentionInputs) -> None:
        assert self.recorded is not None
        self.recorded[request].append(read_signal(request, self.kinds[request], inputs, self.before))

    @contextmanager
    def recording(self) -> Iterator[dict[Signal, list[Tensor]]]:
        """Record while pictures are encoded.

        Yields:
            By request, the signals of each call of the tower, (tiles, patches, c) float32.

        Raises:
            UnsupportedInputError: a watched layer was not run by its module, as in a compiled encoder.
        """
        self.recorded = {request: [] for request in self.kinds}
        try:
            yield self.recorded
            silent = next((request for request, calls in self.recorded.items() if not calls), None)
            if silent is not None:
                raise UnsupportedInputError(
                    f"Layer {silent.layer} of the vision tower ran without being heard; serve without compiling the "
                    "encoder or capturing it in CUDA graphs."
                )
        finally:
            self.recorded = None

    def copying(self, weights: Iterable[tuple[str, Tensor]], loaded: Callable[[str], None]) -> Iterator[Any]:
        """All weights, while those of the layer that vLLM leaves out are copied.

        Args:
            weights: a checkpoint's names and tensors.
            loaded: called with the name of each parameter of this module that was filled.
        """
        for name, weight in weights:
            if self.last is not None:
                filled = self.last.take(name, weight)
                if filled is not None:
                    loaded(f"last.{filled}")
            yield name, weight


def attention_inputs(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttentionInputs:
    """Queries and keys that vLLM's attention of an encoder is called with.

    They are (b, s, heads · d), or (b, s, heads, d) with the bounds of packed pictures.
    """
    named = dict(zip(("query", "key"), args, strict=False)) | kwargs
    query, key = (_by_head(named[name], module.num_heads) for name in ("query", "key"))
    return AttentionInputs(query=query, key=key, scaling=module.scale, segments=kwargs.get(BOUNDS))


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(b, heads, s, d)."""
    return (x.unflatten(-1, (heads, -1)) if x.ndim == 3 else x).transpose(1, 2)


def side_by_side(recorded: dict[Signal, list[Tensor]]) -> list[Tensor]:
    """All signals of each call of the tower side by side, (tiles, tokens, c) float32."""
    return [torch.cat(parts, dim=-1) for parts in zip(*recorded.values(), strict=True)]
