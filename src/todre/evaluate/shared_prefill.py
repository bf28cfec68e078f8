"""Shared prefill: layers that run once on the prefix of prompts about a picture.

The prefix is all that comes before the question. Up to the first layer where a method acts, the prefix's states do not
depend on the question. So each of these layers runs on the prefix once for each picture. For each prompt it then runs
on the question alone, with the prefix's keys and values before the question's.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from todre.hf.decoder_runs import layer_angles, split_states, with_angles
from todre.hf.keywords import MASK
from todre.hf.layer_calls import layer_cache, layer_positions, with_cache, with_mask, with_positions
from todre.hf.model_parts import decoder_module
from todre.hf.wrappers import ForwardPatch
from todre.methods.base import Method


@dataclass(frozen=True)
class _Ran:
    """Result of one layer on a picture's prefix of p columns.

    Attributes:
        hidden: (p, d) output of the layer.
        key, value: (heads, p, c) keys and values of the layer's attention.
    """

    hidden: Tensor
    key: Tensor
    value: Tensor


@dataclass
class Store:
    """Results of layers and MLPs on pictures' prefixes, by layer and picture.

    Those of MLPs are also kept by the number of columns, as prefixes of other lengths in the batch pad a picture's own.
    """

    layers: dict[tuple[int, Hashable], _Ran] = field(default_factory=dict)
    mlps: dict[tuple[int, Hashable, int], Tensor] = field(default_factory=dict)


class _Recorder:
    """A cache that records the keys and values of a prefix."""

    def update(self, key: Tensor, value: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Record the keys and values that would be cached."""
        self.key, self.value = key, value
        return key, value


class _Joined:
    """A cache that puts the prefixes' keys and values before the questions'.

    Args:
        cache: the cache of the forward.
        prefix: each row's result on its prefix.
    """

    def __init__(self, cache: Any, prefix: Sequence[_Ran]) -> None:
        self._cache, self._begun = cache, prefix

    def update(self, key: Tensor, value: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Pass the prefix's and the question's keys and values to the forward's cache."""
        keys = torch.cat([torch.stack([each.key for each in self._begun]), key], dim=2)
        values = torch.cat([torch.stack([each.value for each in self._begun]), value], dim=2)
        updated: tuple[Tensor, Tensor] = self._cache.update(keys, values, layer, *args, **kwargs)
        return updated


class Beginnings:
    """Shares the first layers' work on prefixes among the questions about a picture.

    For use only with methods that leave the same columns in these layers for every question.

    Args:
        model: a model whose decoder layers take hidden states of shape (b, q, d) and return them, such as Llama's.
        count: number of first layers whose prefixes no method has changed for a question.
        watched: whether a method reads the attention of the next layer, so that only the MLP of that layer is shared.
        store: earlier results, shared among methods that leave the same columns.
    """

    def __init__(self, model: Any, count: int, watched: bool, store: Store) -> None:
        self._layers, self._count, self._watched = decoder_module(model).layers, count, watched
        self._store = store
        self._image_token = model.config.image_token_id
        self._pictures: Sequence[Hashable] = ()
        self._tail = 0

    @contextmanager
    def of(self, pictures: Sequence[Hashable], prompts: Sequence[Tensor]) -> Iterator[None]:
        """Share the prefixes of `prompts`, (n_i,) token ids each, inside the block.

        Nothing is shared if the questions differ in length, or in forwards that are padded or hold no prefix.
        """
        tails = {len(prompt) - int((prompt == self._image_token).nonzero().max()) - 1 for prompt in prompts}
        if len(tails) > 1:
            yield
            return
        self._pictures, self._tail = tuple(pictures), tails.pop()
        # They point back here. Kept, they would hold pictures' results in a cycle, and gigabytes would wait for a full
        # collection.
        stand_ins = self._stand_ins()
        for each in stand_ins:
            each.put()
        try:
            yield
        finally:
            while stand_ins:
                stand_ins.pop().remove()

    def _stand_ins(self) -> list[ForwardPatch]:
        """What stands in for the layers' forwards, and for an MLP's."""
        made = [ForwardPatch(layer, _At(self, index)) for index, layer in enumerate(self._layers[: self._count])]
        if self._watched:
            made.append(ForwardPatch(self._layers[self._count].mlp, functools.partial(self.mlp, self._count)))
        return made

    def layer(self, index: int, forward: Any, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Run layer `index` (0-based) on hidden states (b, p + tail, d)."""
        begins = hidden.shape[1] - self._tail
        if begins < 1 or kwargs.get(MASK) is not None or len(self._pictures) != len(hidden):
            whole: Tensor = forward(hidden, **kwargs)
            return whole
        for row, picture in enumerate(self._pictures):
            if (index, picture) not in self._store.layers:
                recorder = _Recorder()
                arguments = with_cache(_columns(kwargs, slice(0, begins), row), recorder)
                self._store.layers[index, picture] = _Ran(
                    forward(hidden[row : row + 1, :begins], **arguments)[0], recorder.key[0], recorder.value[0]
                )
        prefix = [self._store.layers[index, picture] for picture in self._pictures]
        mask = _behind(begins, self._tail, hidden.device)
        arguments = with_mask(_columns(kwargs, slice(begins, None)), mask)
        cache = layer_cache(kwargs)
        if cache is not None:
            arguments = with_cache(arguments, _Joined(cache, prefix))
        ends = forward(hidden[:, begins:], **arguments)
        return torch.cat([torch.stack([each.hidden for each in prefix]), ends], dim=1)

    def mlp(self, index: int, forward: Any, hidden: Tensor) -> Tensor:
        """Run the MLP of layer `index` on (b, p + tail, d); prefix columns are shared."""
        begins = hidden.shape[1] - self._tail
        if begins < 1 or len(self._pictures) != len(hidden):
            whole: Tensor = forward(hidden)
            return whole
        for row, picture in enumerate(self._pictures):
            if (index, picture, begins) not in self._store.mlps:
                self._store.mlps[index, picture, begins] = forward(hidden[row : row + 1, :begins])[0]
        passed = torch.stack([self._store.mlps[index, picture, begins] for picture in self._pictures])
        return torch.cat([passed, forward(hidden[:, begins:])], dim=1)


class _At:
    """The forward of layer `index` (0-based), for `ForwardPatch`."""

    def __init__(self, beginnings: Beginnings, index: int) -> None:
        self.beginnings, self.index = beginnings, index

    def __call__(self, forward: Any, *args: Any, **kwargs: Any) -> Tensor:
        hidden, rest = split_states(args, kwargs)
        return self.beginnings.layer(self.index, forward, hidden, rest)


def untouched(method: Method, n_layers: int) -> tuple[int, bool]:
    """Number of layers before `method` acts, and if it reads attention of the next."""
    reducers = method.reducers(n_layers)
    if not reducers:
        return n_layers, False
    first = min(reducers)
    watched = any(each.reads_attention for each in reducers[first])
    return first - 1 if watched else first, watched


def _columns(kwargs: dict[str, Any], where: slice, row: int | None = None) -> dict[str, Any]:
    """A layer's arguments for some columns, and for one row if given."""

    def taken(values: Tensor) -> Tensor:
        some = values[:, where]
        return some if row is None or len(some) == 1 else some[row : row + 1]

    found = with_angles(kwargs, tuple(taken(each) for each in layer_angles(kwargs)))
    positions = layer_positions(kwargs)
    return found if positions is None else with_positions(found, taken(positions))


def _behind(begins: int, tail: int, device: torch.device) -> Tensor:
    """(1, 1, tail, begins + tail) bool, causal mask of a prompt's last `tail` columns."""
    return torch.ones(tail, begins + tail, dtype=torch.bool, device=device).tril(begins)[None, None]
