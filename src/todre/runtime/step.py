"""State of one decoder forward while a method is attached.

A step is made right before the decoder runs and dropped right after; what must outlive it is on the cache. `prefill`
and `continuation` make a step, `between_layers` and `dropping` change it while layers run, and `finish` puts the
decoder's output back at full length.

A `layer` is 1-based and an `index` counts from 0. So one number names the place between two layers: once `k` layers
have run, that place is after layer `k` and before the layer with index `k`.
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
from todre.methods.views.reduction import Reduction
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
    """Inputs of one decoder forward; none of them changes while layers run.

    Attributes:
        decoder: the decoder's facts.
        cache: the caller's cache, or None.
        past: logical columns before this forward.
        length: l, logical columns of this forward.
        mask: (b, past + l) bool, the caller's logical mask, False at padding; None where nothing is padding.
        block_masks: by type of layer, (b or 1, l, l) bool, True where the model's own mask allows attention; None where
            attention is causal.
        method: the attached method; None in a forward without pictures.
        schedule: after which layers which methods are asked.
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
        columns: (b, q) int64 logical column of each column in flight; -1 is padding.
        kinds: (b, q) int8 class of each column (see `tensors.columns`).
        counts: number of columns of each class, row by row, on the host.
        from_loop: from the columns that the decoder's loop holds to these, once some left inside the decoder; the loop
            does not learn of it.
        packed: True if some input columns are no longer in flight.
        padded: True if some columns in flight may be padding, as known on the host.
    """

    columns: Tensor
    kinds: Tensor
    counts: RowCounts = field(default_factory=lambda: _NO_ROWS)
    from_loop: Compaction | None = None
    packed: bool = False
    padded: bool = False

    def take(self, packing: Compaction, counts: RowCounts) -> InFlight:
        """The columns that `packing` keeps, of which there are `counts`."""
        return replace(
            self,
            columns=packing.take(self.columns).masked_fill(~packing.valid, -1),
            kinds=packing.take(self.kinds).masked_fill(~packing.valid, PAD),
            counts=counts,
            packed=True,
            padded=packing.padded,
        )


class Snapshot(NamedTuple):
    """The columns in flight after a count of layers has run.

    Attributes:
        layers: count of layers that have run.
        columns, kinds: (b, q), see `InFlight`.
        visual: number of visual tokens in each row.
    """

    layers: int
    columns: Tensor
    kinds: Tensor
    visual: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ParkedState:
    """The columns in flight when tokens were parked.

    Attributes:
        layer: count of layers that had run.
        method: the method that parked them, and takes them back.
        hidden: (b, q0, d) hidden states of all columns in flight then.
        in_flight: the columns that were in flight then.
        memo: the method's own value, shown to it again.
    """

    layer: int
    method: Method
    hidden: Tensor
    in_flight: InFlight
    memo: Any


@dataclass(kw_only=True)
class LayerAnswers:
    """What methods between layers are shown, and what they answered.

    Layers are 1-based: counts of layers that have run.

    Attributes:
        attention: by layer, the inputs of its attention, until the methods are asked.
        passed: by layer, the further positional and the keyword arguments that the loop passed to it, until then.
        assumed: by later layer that was looked at, the layer whose arguments it was given, and these.
        reductions: by layer, the methods' joint answer.
        memos: by method, the memo of its latest answer that had one.
        held_visual: by layer, for each row, True if it still held visual tokens when the methods were asked.
        signal_maps: by request, (b, l) float32 signals of the vision tower.
        entry: (b, l, d) embeddings that entered the decoder, if a method reads them.
        parked: the columns in flight when tokens were parked, until they come back.
        peeking: True while a layer runs only to show its queries and keys.
    """

    attention: dict[int, AttentionInputs] = field(default_factory=dict)
    passed: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    assumed: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    reductions: dict[int, Reduction] = field(default_factory=dict)
    memos: dict[Method, Any] = field(default_factory=dict)
    held_visual: dict[int, list[bool]] = field(default_factory=dict)
    signal_maps: dict[Signal, Tensor] = field(default_factory=dict)
    entry: Tensor | None = None
    parked: ParkedState | None = None
    peeking: bool = False


@dataclass(kw_only=True)
class Step:
    """State of one decoder forward.

    Attributes:
        inputs: the inputs that the forward started from.
        in_flight: the columns that the next layer runs on.
        answers: what methods between layers are shown and answered.
        selection: the visual tokens kept in stage 1; None in a forward without pictures.
        select_seconds: time that stage 1 took, in seconds.
        text_counts: for each row, the number of columns that are neither visual nor padding.
        rotary_positions: positions for the rotary embedding, where the decoder must not see them; None otherwise.
        masks: by index of layer (from 0), its mask in place of the one that the decoder's loop passes.
        trace: the columns in flight, each time they changed.
        segments: where each row comes from, if the input's rows held packed samples.
    """

    inputs: DecoderInputs
    in_flight: InFlight
    answers: LayerAnswers = field(default_factory=LayerAnswers)
    selection: BatchSelection | None = None
    select_seconds: float = 0.0
    text_counts: list[int] = field(default_factory=list)
    rotary_positions: Tensor | None = None
    masks: dict[int, Any] = field(default_factory=dict)
    trace: list[Snapshot] = field(default_factory=list)
    segments: Segments | None = None

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return self.inputs.decoder.n_layers

    @property
    def rewrites(self) -> bool:
        """True if some argument of a layer or the rotary embedding is not the loop's own."""
        return bool(self.masks or self.inputs.schedule.reducers) or self.rotary_positions is not None

    @property
    def layer_positions(self) -> Tensor | None:
        """Positions for the layers themselves; None where they must not see gaps.

        Some layers scale their queries by positions. Kernels that read packed samples out of gaps must not see them.
        """
        return self.rotary_positions if self.inputs.decoder.shows_positions else None

    @property
    def own_columns(self) -> Tensor:
        """Columns in flight, counted from this forward's first; (b, q) int64, -1 padding."""
        columns = self.in_flight.columns
        return torch.where(columns >= 0, columns - self.inputs.past, -1)

    def cache_layer(self, index: int) -> Any:
        """The cache layer that the layer with index `index` (from 0) reads, or None.

        This is the layer's own, or the last of its type where layers share a cache layer (Gemma 3n).
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
        """The slot table of layer `layer` (1-based), or None."""
        held = self.cache_layer(layer - 1)
        return kv.table_of(held) if held is not None else None

    def cached_visual(self, layer: int) -> list[int]:
        """Visual slots cached before this forward, per row, at layer `layer` (1-based)."""
        table = self.table(layer)
        return table.earlier if table is not None else [0] * len(self.in_flight.counts.visual)

    def key_kinds(self, layer: int) -> Tensor:
        """Class of each key of layer `layer` (1-based), (b, s) int8."""
        table = self.table(layer)
        return table.kinds if table is not None else self.in_flight.kinds

    def wants(self, layer: int) -> bool:
        """True if methods are asked after layer `layer` (1-based).

        Some row must still hold visual tokens.
        """
        if self.inputs.method is None or self.answers.peeking:
            return False
        return any((*self.in_flight.counts.visual, *self.cached_visual(layer)))

    def record(self, layers: int) -> None:
        """Record the columns in flight after `layers` layers have run."""
        now = self.in_flight
        self.trace.append(Snapshot(layers, now.columns, now.kinds, now.counts.visual))
