"""Bytes of a KV cache: measured from its tensors, and predicted by counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def measured_bytes(cache: Any) -> int:
    """Bytes of the distinct storages that the cache's keys and values keep alive.

    A view of a larger tensor counts as the whole tensor, because no part of that tensor can be freed.
    """
    storages = {}
    for layer in cache.layers:
        for name in ("keys", "values"):
            tensor = getattr(layer, name, None)
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def predicted_bytes(config: Any, columns: Sequence[int], rows: int, itemsize: int) -> int:
    """Bytes of a cache that holds exactly `columns[l]` columns of each row in layer l.

    Layers are counted from 0.

    Args:
        config: the model's config.
        columns: for each decoder layer, number of columns of the longest row: text, visual tokens that the layer ran
            on, and generated tokens without the last, because no layer runs on the last.
        rows: rows of the batch.
        itemsize: bytes of a number.
    """
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * sum(columns) * rows * int(heads) * int(dim) * itemsize
