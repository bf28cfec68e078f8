"""Replay of drops between decoder layers, by hooks that know no method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from todre.hf.decoder import decoder_of
from todre.hf.decoder_runs import layer_angles, with_angles
from todre.hf.layer_calls import layer_positions, with_mask, with_positions
from todre.hf.model_parts import attention_backend
from todre.report import PruningReport


class NoReplayError(Exception):
    """Raised if anything but final drops of columns happened between layers.

    The message says why.
    """


@dataclass(frozen=True)
class Drops:
    """Columns that leave between decoder layers.

    Attributes:
        places: layer (0-based) to (b, q) int64, the columns of the shortened prompt that the layer still sees.
    """

    places: Mapping[int, Tensor] = field(default_factory=dict)


def drops_of(model: Any, report: PruningReport, visual: Sequence[Tensor]) -> Drops:
    """Drops of a report, as the columns of the shortened prompt that each layer sees.

    Args:
        model: the pruned model.
        report: report of the pruned prefill.
        visual: for each row, (q',) bool, True at the visual columns of the shortened prompt, in the order of
            `report.kept`.

    Raises:
        NoReplayError: tokens came back, rows kept different numbers, or layers see less than the whole prompt.
    """
    changes = sorted({layer for row in report.kept_from_layer for layer in row if layer > 0})
    if not changes:
        return Drops()
    decoder = decoder_of(model)
    if not decoder.uniform or attention_backend(decoder.config) != "sdpa":
        raise NoReplayError("drops between layers are replayed for SDPA and layers of full attention alone")
    if len({len(columns) for columns in visual}) > 1:
        raise NoReplayError(_UNEQUAL)
    places = {}
    for layer in changes:
        rows = [_left(report.kept_from_layer[row], layer, columns) for row, columns in enumerate(visual)]
        if len({len(row) for row in rows}) > 1:
            raise NoReplayError(_UNEQUAL)
        places[layer] = torch.stack(rows)
    return Drops(places)


_UNEQUAL = "rows of the batch kept different numbers of tokens, which padding would have to fill"


def _left(kept: Mapping[int, list[int]], layer: int, visual: Tensor) -> Tensor:
    """Columns of one row's shortened prompt that are left after `layer` layers.

    Args:
        kept: count of layers run to the original indices of the visual tokens that go on.
        layer: count of layers run.
        visual: (q',) bool, True at visual columns of the shortened prompt.
    """
    first, before = kept.get(0, []), kept.get(0, [])
    for at in sorted(kept):
        if at <= layer:
            if not set(kept[at]) <= set(before):
                raise NoReplayError("tokens that left come back in a later layer")
            before = kept[at]
    now = set(before)
    stay = ~visual
    stay[visual.nonzero().flatten()] = torch.tensor(
        [token in now for token in first], device=stay.device, dtype=torch.bool
    )
    return stay.nonzero().flatten()


@contextmanager
def replaying(model: Any, drops: Drops) -> Iterator[None]:
    """Drop the prompt's columns by `drops` inside the block; later forwards are whole.

    Each layer caches only the columns that the layer sees. Masks are left out: without padding, SDPA needs none.
    """
    handles = []
    try:
        if drops.places:
            for index, layer in enumerate(decoder_of(model).layers):
                handles.append(layer.register_forward_pre_hook(_Dropper(drops, index), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Dropper:
    """Hook that passes only the remaining columns to one layer (0-based)."""

    def __init__(self, drops: Drops, index: int) -> None:
        before = [layer for layer in sorted(drops.places) if layer <= index]
        self.now = drops.places[before[-1]] if before else None
        earlier = [layer for layer in before if layer < index]
        self.held = drops.places[earlier[-1]] if earlier else None

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if self.now is None or layer_angles(kwargs)[0].shape[-2] == 1:
            return None
        hidden = args[0]
        if self.held is None:
            hidden = _columns(hidden, self.now)
        elif self.held is not self.now:
            hidden = _columns(hidden, torch.searchsorted(self.held, self.now))
        angles = tuple(_columns(angle, self.now) for angle in layer_angles(kwargs))
        positions = layer_positions(kwargs)
        changed = with_mask(with_angles(kwargs, angles), None)
        if positions is not None:
            changed = with_positions(changed, positions[..., : self.now.shape[1]])
        return (hidden, *args[1:]), changed


def _columns(values: Tensor, places: Tensor) -> Tensor:
    """(…, b, q', d): values (…, b or 1, q, d) at the columns `places` (b, q')."""
    rows = torch.arange(places.shape[0], device=places.device, dtype=torch.int64)[:, None]
    return values.expand(*values.shape[:-3], places.shape[0], *values.shape[-2:])[..., rows, places, :]
