"""State of one decoder forward while a method is attached.

A step is made right before the decoder runs and dropped right after; what must outlive it is on the cache. The rooms
beside this file work on it: `prefill` and `continuation` make one, `between_layers` and `dropping` change it while
layers run, `finish` puts the output back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.decoder import Decoder
from todre.hf.versions import Cache
from todre.methods.base import Method
from todre.methods.views.decoder_layer import Reduction
from todre.runtime.schedule import Schedule
from todre.runtime.segments import Segments
from todre.runtime.selection import BatchSelection
from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import PAD, Compaction
from todre.tensors.row_counts import RowCounts
from todre.tensors.slots import SlotTable
from todre.tensors.token_facts import Signal

_NO_ROWS = RowCounts(head=(), visual=(), between=(), tail=(), drafts=(), had_picture=(), kinds=None)


@dataclass(frozen=True, kw_only=True)
class DecoderInputs:
    """What one decoder forward starts from; none of it changes while layers run.

    Attributes:
        decoder: the decoder's facts.
        cache: the caller's cache, or None.
        past: logical columns before this forward.
        length: l, logical columns of this forward.
        mask: (b, past + l) bool, the caller's logical mask, False at padding; None where nothing is padding.
        block_masks: by type of layer, (b or 1, l, l) bool, what the model's own mask allows where attention is more
            than causal; None where it is causal.
        method: the method that is asked; None in a forward without pictures.
        schedule: where inside the decoder which methods are asked.
        visual: (b, l) bool, the visual columns; None in a forward without pictures.
    """

    decoder: Decoder
    cache: Cache | None
    past: int
    length: int
    mask: Tensor | None = None
    block_masks: dict[str, Tensor] | None = None
    method: Method | None = None
    schedule: Schedule = field(default_factory=Schedule)
    visual: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """The columns that the next layer runs on.

    Attributes:
        columns: (b, q) int64 logical column of each; -1 is padding.
        kinds: (b, q) int8 class of each (see `tensors.columns`).
        counts: how many of them are what, row by row, on the host.
        inner: from the columns that the decoder's loop holds to these, once some left inside the decoder.
        packed: whether these are no longer all the columns that came in.
        padded: whether some of them may be padding, as known on the host.
    """

    columns: Tensor
    kinds: Tensor
    counts: RowCounts = field(default_factory=lambda: _NO_ROWS)
    inner: Compaction | None = None
    packed: bool = False
    padded: bool = False

    def compacted(self, packed: Compaction, counts: RowCounts) -> InFlight:
        """The columns that `packed` keeps, of which there are `counts`."""
        return replace(
            self,
            columns=packed.take(self.columns).masked_fill(~packed.valid, -1),
            kinds=packed.take(self.kinds).masked_fill(~packed.valid, PAD),
            counts=counts,
            packed=True,
            padded=packed.padded,
        )


class Stage(NamedTuple):
    """What is in flight from a count of layers run on.

    Attributes:
        layers: count of layers run.
        columns, kinds: (b, q), see `InFlight`.
        visual: visual tokens of each row.
    """

    layers: int
    columns: Tensor
    kinds: Tensor
    visual: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ParkedState:
    """What was in flight when tokens were parked.

    Attributes:
        layer: count of layers run then.
        method: the method that parked them, and will be asked when they come back.
        hidden: (b, q0, d) hidden states of all columns in flight then.
        in_flight: those columns.
        memo: what the method wants to be shown again.
    """

    layer: int
    method: Method
    hidden: Tensor
    in_flight: InFlight
    memo: Any


@dataclass(kw_only=True)
class LayerAnswers:
    """What methods that act between layers are shown, and what they answered.

    Attributes:
        attention: by count of layers run, what that layer's attention was called with, until the methods are asked.
        reductions: by count of layers run, the methods' answer.
        held_visual: by count of layers run, whether each row still held visual tokens when they were asked.
        signal_maps: by request, (b, l) float32 signals of the vision tower.
        entry: (b, l, d) embeddings that came to the decoder, if a method reads them.
        parked: what left for a while.
        peeking: True while a layer runs only to show its queries and keys.
    """

    attention: dict[int, AttentionInputs] = field(default_factory=dict)
    reductions: dict[int, Reduction] = field(default_factory=dict)
    held_visual: dict[int, list[bool]] = field(default_factory=dict)
    signal_maps: dict[Signal, Tensor] = field(default_factory=dict)
    entry: Tensor | None = None
    parked: ParkedState | None = None
    peeking: bool = False


@dataclass(kw_only=True)
class Step:
    """State of one decoder forward.

    Attributes:
        inputs: what it started from.
        in_flight: the columns that the next layer runs on.
        answers: what happens between layers.
        selection: what stage 1 left; None in a forward without pictures.
        select_seconds: time that stage 1 took, in seconds.
        text: columns of each row that are neither visual nor padding.
        rotary_positions: positions for the rotary embedding, where the decoder must not see them; None otherwise.
        masks: by layer (0-based), what it is given in place of the mask that the decoder's loop hands it.
        trace: what was in flight, each time that changed.
        segments: where the rows come from, if samples were packed in those that came in.
    """

    inputs: DecoderInputs
    in_flight: InFlight
    answers: LayerAnswers = field(default_factory=LayerAnswers)
    selection: BatchSelection | None = None
    select_seconds: float = 0.0
    text: list[int] = field(default_factory=list)
    rotary_positions: Tensor | None = None
    masks: dict[int, Any] = field(default_factory=dict)
    trace: list[Stage] = field(default_factory=list)
    segments: Segments | None = None

    @property
    def n_layers(self) -> int:
        """Decoder layers in all."""
        return self.inputs.decoder.n_layers

    @property
    def acts(self) -> bool:
        """True if layers or the rotary embedding get something else than the loop hands them."""
        return bool(self.masks or self.inputs.schedule.reducers) or self.rotary_positions is not None

    @property
    def layer_positions(self) -> Tensor | None:
        """Positions for the layers themselves, where they may be shown them.

        Some layers scale their queries by positions. Kernels that read packed sequences out of gaps must not see them.
        """
        return self.rotary_positions if self.inputs.decoder.shows_positions else None

    @property
    def own_columns(self) -> Tensor:
        """(b, q) int64, each column in flight counted from this forward's first; -1 is padding."""
        columns = self.in_flight.columns
        return torch.where(columns >= 0, columns - self.inputs.past, -1)

    def cache_layer(self, index: int) -> Any:
        """The cache layer that layer `index` (0-based) reads.

        Its own, or the last of its type where layers share one (Gemma 3n).
        """
        decoder = self.inputs.decoder
        layers = self.inputs.cache.layers if self.inputs.cache is not None else []
        if index < len(layers) and (kv.holds_slots(layers[index]) or not decoder.attends(index)):
            return layers[index]
        kind = decoder.layer_kinds[index]
        earlier = [
            layer
            for layer, other in zip(layers[:index], decoder.layer_kinds, strict=False)
            if other == kind and kv.holds_slots(layer)
        ]
        return earlier[-1] if earlier else None

    def table(self, layer: int) -> SlotTable | None:
        """The slot table of layer `layer` (1-based), if its cache has one."""
        held = self.cache_layer(layer - 1)
        return kv.table_of(held) if held is not None else None

    def cached_visual(self, layer: int) -> list[int]:
        """Visual slots cached before this forward, per row, at layer `layer` (1-based)."""
        table = self.table(layer)
        return table.earlier if table is not None else [0] * len(self.in_flight.counts.visual)

    def key_kinds(self, layer: int) -> Tensor:
        """(b, s) int8 class of each key of layer `layer` (1-based)."""
        table = self.table(layer)
        return table.kinds if table is not None else self.in_flight.kinds

    def wants(self, layer: int) -> bool:
        """True if methods are asked after `layer` layers: some row must still hold visual tokens."""
        if self.inputs.method is None or self.answers.peeking:
            return False
        return any((*self.in_flight.counts.visual, *self.cached_visual(layer)))

    def mark_stage(self, layers: int) -> None:
        """Record what is in flight from `layers` layers run on."""
        now = self.in_flight
        self.trace.append(Stage(layers, now.columns, now.kinds, now.counts.visual))
