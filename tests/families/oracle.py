"""Independent references for any family: the untouched model, in which layers do not see the columns that left.

Nothing here uses the runtime under test. Masks are those that the untouched decoder hands its layers (eager, so that
they are always there), with the columns that left taken out layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from upstream import CACHE

LOWEST = torch.finfo(torch.float32).min


def decoder_layers(model: Any) -> Any:
    """The decoder's layers, also where `get_decoder` answers with a causal language model."""
    decoder = model.get_decoder()
    return decoder.layers if hasattr(decoder, "layers") else decoder.model.layers


def hidden_columns(visual: Tensor, report: Any, n_layers: int) -> Tensor:
    """(b, layers, q) bool: columns that a layer must not see."""
    rows, length = visual.shape
    gone = torch.zeros(rows, n_layers, length, dtype=torch.bool)
    for row in range(rows):
        columns = visual[row].nonzero().flatten()
        lost = visual[row].clone()
        lost[columns[report.kept[row]]] = False
        gone[row, :, lost] = True
        after = report.dropped_after_layer[row]
        if after is not None:
            gone[row, after:, visual[row]] = True
    return gone


@contextmanager
def mask_oracle(model: Any, gone: Tensor) -> Iterator[None]:
    """Inside the block each layer of the untouched `model` does not see its `gone` (b, layers, q) columns."""
    handles = []

    def hook(index: int) -> Any:
        def before(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            hidden, mask = args[0], kwargs["attention_mask"]
            cache = kwargs.get(CACHE)
            past = cache.layers[index].get_seq_length() if cache is not None and index < len(cache.layers) else 0
            total = past + hidden.shape[1]
            if mask is None:
                allowed = torch.ones(hidden.shape[0], 1, hidden.shape[1], total, dtype=torch.bool).tril(past)
            else:
                allowed = mask if mask.dtype == torch.bool else mask == 0
            first = total - allowed.shape[-1]  # a layer with a window holds the last columns only
            visible = torch.ones(hidden.shape[0], total, dtype=torch.bool)
            width = min(total, gone.shape[2])
            repeats = hidden.shape[0] // gone.shape[0]
            visible[:, :width] &= ~gone[:, index, :width].repeat_interleave(repeats, 0)
            allowed = allowed & visible[:, None, None, first:]
            shape = (hidden.shape[0], 1, hidden.shape[1], allowed.shape[-1])
            floats = torch.zeros(shape).masked_fill(~allowed, LOWEST)
            return args, kwargs | {"attention_mask": floats}

        return before

    for index, layer in enumerate(decoder_layers(model)):
        handles.append(layer.register_forward_pre_hook(hook(index), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def short_run(model: Any, gone: Tensor) -> Iterator[None]:
    """Inside the block forwards of one row without a cache really lose their `gone` (1, layers, q) columns.

    For decoders with layers that carry a state: a mask cannot make those forget. Columns come back as zeros at the end.
    """
    layers = list(decoder_layers(model))
    state: dict[str, Any] = {}

    def stays(index: int, length: int) -> Tensor:
        keep = torch.ones(length, dtype=torch.bool)
        width = min(length, gone.shape[2])
        keep[:width] &= ~gone[0, index, :width]
        return keep

    def hook(index: int) -> Any:
        def before(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            hidden = args[0]
            if index == 0:
                state["length"] = hidden.shape[1]
                state["here"] = torch.arange(hidden.shape[1])
            keep = stays(index, state["length"])
            hidden = hidden[:, keep[state["here"]]]
            state["here"] = state["here"][keep[state["here"]]]
            kwargs = dict(kwargs)
            angles = kwargs["position_embeddings"]
            if angles is not None:
                kwargs["position_embeddings"] = tuple(angle[..., keep, :] for angle in angles)
            if isinstance(kwargs.get("position_ids"), Tensor):
                kwargs["position_ids"] = kwargs["position_ids"][..., keep]
            mask = kwargs.get("attention_mask")
            if mask is not None and mask.ndim == 4:
                kwargs["attention_mask"] = mask[..., keep, :][..., keep]
            elif mask is not None:
                kwargs["attention_mask"] = mask[:, keep]
            return (hidden, *args[1:]), kwargs

        return before

    def after(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        whole = hidden.new_zeros(1, state["length"], hidden.shape[2])
        whole[:, state["here"]] = hidden
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    handles = [layer.register_forward_pre_hook(hook(i), with_kwargs=True) for i, layer in enumerate(layers)]
    handles.append(layers[-1].register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
