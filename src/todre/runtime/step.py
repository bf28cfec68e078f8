"""One forward of the decoder: what it is given, what each layer sees, and what comes back.

A step is made right before the decoder runs and dropped right after. What must outlive it is on the cache.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, contiguous
from todre.hf.decoder import Decoder
from todre.hf.layer_calls import follow, layer_positions, repack, with_mask, with_positions
from todre.hf.versions import Cache
from todre.methods.base import Method
from todre.methods.views.decoder_layer import Reduction
from todre.runtime.between_layers import ask, reduce_at
from todre.runtime.dropping import ParkedState, Stage, rejoin_slots
from todre.runtime.layer_masks import plan_masks, set_masks
from todre.runtime.masks import logical_mask, looks_ahead
from todre.runtime.peek import next_attention
from todre.runtime.positions import matched, shifted
from todre.runtime.prompt import Prompt
from todre.runtime.samples import Media, visual_tokens
from todre.runtime.schedule import Plan
from todre.runtime.segments import Segments
from todre.runtime.selection import Selected, select_batch
from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import PAD, TEXT, Compaction, compact, put_back, token_kinds
from todre.tensors.row_counts import RowCounts
from todre.tensors.slots import SlotTable
from todre.tensors.token_facts import Signal
from todre.tensors.transfer import fetch, upload


@dataclass
class Pictures:
    """What the enclosing forward knows of its pictures and clips.

    Attributes:
        media: by kind.
        drafts: how many trailing columns were proposed by assisted decoding.
        said: what the prompt says, on the host.
    """

    media: list[Media]
    drafts: int
    said: Prompt

    @property
    def visual(self) -> Tensor:
        """(b, q) bool on the host, all visual columns."""
        visual = self.media[0].visual
        for more in self.media[1:]:
            visual = visual | more.visual
        return visual


@dataclass
class Step:
    """State of one decoder forward.

    Attributes:
        decoder: the decoder's facts.
        cache: the caller's cache, or None.
        past: logical columns before this forward.
        length: logical columns of this forward.
        attention_mask: the caller's logical mask, (b, past + length) bool, or None.
        columns: (b, q) logical column of each column now in flight; -1 is padding.
        kinds: (b, q) int8 class of each.
        said: by type of layer, what the model's own mask allows, where attention is more than causal; or None.
        packed: whether the columns in flight are no longer those that came in.
        padded: whether some column in flight may be padding, as known on the host.
        inner: from the columns that the decoder's loop holds to those in flight, once some left inside the decoder.
        rotary_positions: positions for the rotary embedding, where the decoder must not see them.
        selected: what stage 1 left; None in a forward without pictures.
        visual: (b, q) bool, the visual columns that came in.
        flight: how many of the columns in flight are what, on the host.
        text: of each row, what is neither visual nor padding.
        trace: what was in flight, each time that changed.
        masks: what a layer is given in place of the mask that the decoder's loop hands it.
        plan: where inside the decoder which methods are asked.
        seen: per count of layers run, what its attention was called with, until the methods are asked.
        reductions: per count of layers run, the methods' answer.
        told: by request, (b, q) signals of the vision tower, for methods that reduce.
        entry: (b, q, d) embeddings that came in, if a method reads them.
        parked: what left for a while.
        probing: whether a layer runs only to show its queries and keys.
        segments: where the rows come from, if samples were packed in those that came in.
    """

    decoder: Decoder
    cache: Cache | None
    past: int
    length: int
    attention_mask: Tensor | None
    columns: Tensor
    kinds: Tensor
    said: dict[str, Tensor] | None = None
    method: Method | None = None
    selected: Selected | None = None
    visual: Tensor | None = None
    flight: RowCounts = field(default_factory=lambda: RowCounts((), (), (), (), (), (), None))
    text: list[int] = field(default_factory=list)
    rotary_positions: Tensor | None = None
    select_seconds: float = 0.0
    inner: Compaction | None = None
    packed: bool = False
    padded: bool = False
    trace: list[Stage] = field(default_factory=list)
    masks: dict[int, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    seen: dict[int, AttentionInputs] = field(default_factory=dict)
    reductions: dict[int, Reduction] = field(default_factory=dict)
    ratio_rows: dict[int, list[bool]] = field(default_factory=dict)
    told: dict[Signal, Tensor] = field(default_factory=dict)
    entry: Tensor | None = None
    parked: ParkedState | None = None
    probing: bool = False
    segments: Segments | None = None

    @property
    def layer_positions(self) -> Tensor | None:
        """Positions for the layers themselves, where they may be shown: some scale their queries by them.

        Kernels that read packed sequences out of gaps must not see them.
        """
        return self.rotary_positions if self.decoder.shows_positions else None

    @property
    def n_layers(self) -> int:
        """Decoder layers."""
        return self.decoder.n_layers

    @property
    def acts(self) -> bool:
        """Whether layers or the rotary embedding are given something else than the decoder's loop hands them."""
        return bool(self.masks or self.plan.reducers) or self.rotary_positions is not None

    # -- before the decoder -------------------------------------------------------------------------------------

    @classmethod
    def prefill(cls, decoder: Decoder, method: Method, plan: Plan, pictures: Pictures, call: DecoderCall) -> Step:
        """Select visual tokens and rewrite `call`, the decoder's, in place for what is left of the prompt."""
        plan.check(call.deepstack)
        embeds, cache, said = embeddings_of(call), call.cache, pictures.said
        rows, length = embeds.shape[:2]
        device, past, given = embeds.device, said.past_of(cache), call.attention_mask
        mask = said.mask_of(given, cache, past, length)
        visual = pictures.visual
        valid = mask[:, past:] if mask is not None else torch.ones_like(visual)
        seen = said.seen if said.seen is not None else torch.zeros(rows, dtype=torch.bool, device="cpu")
        kinds = token_kinds(visual, valid, seen, pictures.drafts)
        started = time.perf_counter()
        samples = visual_tokens(embeds, pictures.media, kinds == TEXT)
        here = upload(torch.stack([kinds, visual.to(kinds.dtype)]), device)
        selected = select_batch(method, samples, here[1] > 0, embeds)
        seconds = time.perf_counter() - started
        if selected.embeddings is not None:
            call.embeds = selected.embeddings
        columns = torch.arange(past, past + length, device=device, dtype=torch.int64).expand(rows, length)
        whole = None if mask is None or bool(mask.all()) else upload(mask, device)
        ahead = None if said.causal(given) else looks_ahead(given, length, valid)
        step = cls(decoder, cache, past, length, whole, columns, here[0], ahead, method, selected, here[1] > 0)
        step.select_seconds, step.padded, step.plan = seconds, whole is not None, plan
        step.flight, step.text = RowCounts.of(kinds, seen.tolist()), (valid & ~visual).sum(dim=1).tolist()
        if plan.reducers:
            step.told = samples.signal_maps(length)
        if any(each.reads_inputs for asked in plan.reducers.values() for each in asked):
            step.entry = call.embeds
        step._enter(step._drop_unselected(valid), call, said.visual)
        return step

    def _drop_unselected(self, valid: Tensor) -> Compaction | None:
        """How columns are packed once what was not selected has left; `valid` is on the host. None if all stays."""
        assert self.selected is not None
        assert self.visual is not None
        if self.selected.counts == self.selected.offered:
            return None
        staying = self.selected.keep | ~self.visual
        if self.attention_mask is not None:
            staying = staying & self.attention_mask[:, self.past :]
        self.flight = self.flight.with_visual(self._standing(valid))
        return compact(staying, self.flight.total)

    def _standing(self, valid: Tensor) -> list[int]:
        """Of each row, the selected tokens that are not padding; to be counted only if a mask hides visual tokens."""
        assert self.selected is not None
        if self.flight.visual == tuple(self.selected.offered):
            return self.selected.counts
        shown = self.selected.keep & upload(valid, self.selected.keep.device)
        return list(fetch([shown.sum(dim=1)])[0].tolist())

    @classmethod
    def continuation(cls, decoder: Decoder, tables: list[SlotTable], outer: Any, call: DecoderCall) -> Step | None:
        """A forward without pictures on a pruned cache; None when the decoder needs no help with it."""
        embeds, cache = embeddings_of(call), call.cache
        rows, length = embeds.shape[:2]
        for table in tables:
            table.begin(length)
        if all(table.identity for table in tables):
            return None
        past = int(cache.get_seq_length())
        given = call.attention_mask
        mask = logical_mask(given, outer, cache, past, length)
        columns = torch.arange(past, past + length, device=embeds.device, dtype=torch.int64).expand(rows, length)
        said = looks_ahead(given, length) if length > 1 else None
        step = cls(decoder, cache, past, length, mask, columns, torch.empty(0, dtype=torch.int8, device="cpu"), said)
        step.padded = mask is not None
        step._set_positions(call, None)
        set_masks(step, call, embeds)
        return step

    def _enter(self, packed: Compaction | None, call: DecoderCall, held: Mapping[int, list[int]]) -> None:
        """Give the decoder the packed prompt, and the cache its tables; `held`: see `Prompt.visual`."""
        shift = self._set_positions(call, packed)
        if packed is not None:
            repack(call, packed, self.selected.stays if self.selected is not None else None)
            self.pack(packed)
        self.trace.append(Stage(0, self.columns, self.kinds, self.flight.visual))
        if self.cache is not None:
            self._extend_tables(packed, shift, held)
        embeds = embeddings_of(call)
        if packed is not None or any(not table.identity for table in kv.distinct_tables(self.cache)):
            set_masks(self, call, embeds)
        if self.rotary_positions is not None:
            call.position_ids = contiguous(self.past, embeds.shape[1], embeds.device)

    def _extend_tables(self, packed: Compaction | None, shift: Tensor | None, held: Mapping[int, list[int]]) -> None:
        """Write this forward's columns into the slot table of every layer."""
        cache = self.cache
        if cache is None:
            return
        rows, device = self.columns.shape[0], self.columns.device
        new: dict[tuple[int, int], SlotTable] = {}
        for index, layer in enumerate(cache.layers):
            if not kv.holds_slots(layer):
                continue
            old, window = kv.table_of(layer), kv.window_of(layer)
            if (id(old), window) not in new:
                masked = self.attention_mask is not None
                base = old or SlotTable.before_pictures(rows, self.past, masked, device, kv.held(layer))
                columns, kinds = base.at_length(self.past)
                table = SlotTable(
                    torch.cat([columns, self.columns], dim=1),
                    torch.cat([kinds, self.kinds], dim=1),
                    covered=self.past + self.length,
                    padded=base.padded or (packed.padded if packed is not None else masked),
                    identity=base.identity and packed is None,
                    shift=shift,
                    window=window,
                )
                table.earlier = [0] * rows if old is None else held.get(id(old)) or _counted(old)
                table.begin(self.length)
                new[id(old), window] = table
            kv.install(cache, index, new[id(old), window])

    def _set_positions(self, call: DecoderCall, packed: Compaction | None) -> Tensor | None:
        """Work out what positions the rotary embedding gets; returns the tables' new shift."""
        tables = kv.distinct_tables(self.cache)
        shift = tables[0].shift if tables else None
        if packed is None and shift is None:
            return None
        positions = call.position_ids
        if positions is None:
            positions = contiguous(self.past, self.length, self.columns.device)
        gone = None
        if packed is not None and self.method is not None and self.method.positions == "compact":
            assert self.visual is not None
            assert self.selected is not None
            gone = (self.visual & ~self.selected.keep).cumsum(dim=1)
        positions, shift = shifted(positions, shift, gone, self.decoder)
        self.rotary_positions = packed.take_positions(positions) if packed is not None else positions
        return shift

    def cache_layer(self, index: int) -> Any:
        """The cache layer that layer `index` reads: its own, or the last of its type where layers share."""
        layers = self.cache.layers if self.cache is not None else []
        if index < len(layers) and (kv.holds_slots(layers[index]) or not self.decoder.attends(index)):
            return layers[index]
        kind = self.decoder.layer_types[index]
        earlier = [
            layer
            for layer, other in zip(layers[:index], self.decoder.layer_types, strict=False)
            if other == kind and kv.holds_slots(layer)
        ]
        return earlier[-1] if earlier else None

    def pack(self, packed: Compaction) -> None:
        """Follow the columns in flight through a compaction."""
        self.packed = True
        self.padded = packed.padded
        self.columns = packed.take(self.columns).masked_fill(~packed.valid, -1)
        self.kinds = packed.take(self.kinds).masked_fill(~packed.valid, PAD)

    # -- inside the decoder -------------------------------------------------------------------------------------

    def wants(self, layer: int) -> bool:
        """Whether some method is to be asked after `layer` layers: some row must still hold visual tokens."""
        return self.method is not None and not self.probing and any((*self.flight.visual, *self.earlier(layer)))

    def earlier(self, layer: int) -> list[int]:
        """Of each row, visual slots from earlier forwards among the keys of the layer that is the `layer`-th to run."""
        held = self.cache_layer(layer - 1)
        table = kv.table_of(held) if held is not None else None
        return table.earlier if table is not None else [0] * len(self.flight.visual)

    def key_kinds(self, layer: int) -> Tensor:
        """(b, s) class of each key of the layer that is the `layer`-th to run."""
        held = self.cache_layer(layer - 1)
        table = kv.table_of(held) if held is not None else None
        return table.kinds if table is not None else self.kinds

    def note(self, layer: int, seen: AttentionInputs) -> None:
        """Queries and keys of the `layer`-th layer to run, for the methods that are asked after it."""
        self.seen[layer] = seen

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """What layer `index` (0-based) is given; None to leave it as it is."""
        if self.probing:
            return None
        if self.parked is not None and index + 1 in self.plan.rejoins:
            args = (rejoin_slots(self, index, args[0]), *args[1:])
            plan_masks(self, index, args[0])
        if index in self.plan.reducers and self.wants(index):
            args = (reduce_at(self, index, args, kwargs), *args[1:])
        real = self.layer_positions if self.inner is None else None
        if self.inner is None and index not in self.masks and real is None:
            return (args, kwargs) if index in self.reductions else None
        return self.given(index, args, kwargs)

    def given(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """What a layer gets in place of what the decoder's loop hands every layer."""
        real = self.layer_positions if self.inner is None else None
        given = layer_positions(kwargs)
        if real is not None and given is not None:
            kwargs = with_positions(kwargs, matched(real, given))
        if self.inner is not None:
            args, kwargs = self._follow(args, kwargs)
        if index in self.masks:
            kwargs = with_mask(kwargs, self.masks[index])
        return args, kwargs

    def _follow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The loop hands every layer what belongs to the columns that it holds; take those still in flight."""
        assert self.inner is not None
        given = layer_positions(kwargs)
        args, kwargs = follow(self.inner, args, kwargs, self.past)
        if self.decoder.shows_positions and given is not None:
            real = given if self.layer_positions is None else matched(self.layer_positions, given)
            kwargs = with_positions(kwargs, self.inner.take_positions(real))
        return args, kwargs

    # -- after the decoder --------------------------------------------------------------------------------------

    def finish(self, output: Any) -> Any:
        """Ask what is asked after the last layer, and put the output back to the length that came in."""
        last = self.n_layers
        if last in self.seen:
            hidden = output.last_hidden_state
            ask(self, last, hidden, lambda: next_attention(self, last, ((hidden,), {})))
        return self.restore(output)

    def restore(self, output: Any) -> Any:
        """Put the hidden states back to the length that came in.

        A visual token that was dropped shows what the last survivor before it has (zeros if there is none), so that
        what follows a picture, also at the end of a prompt, is predicted as if the token had never been there. So does
        padding behind a row's last token: what follows the row is predicted there, too.
        """
        if not self.packed and self.segments is None:
            return output
        output.last_hidden_state = self._rows_back(self._back(output.last_hidden_state, self.columns))
        states = getattr(output, "hidden_states", None)
        if states is not None:
            restored = [self._rows_back(self._state_back(depth, state)) for depth, state in enumerate(states)]
            output.hidden_states = tuple(restored)
        return output

    def _rows_back(self, state: Tensor) -> Tensor:
        return state if self.segments is None else self.segments.back(state)

    def _state_back(self, depth: int, state: Tensor) -> Tensor:
        for stage in reversed([stage for stage in self.trace if stage.layers <= depth]):
            if stage.columns.shape[1] == state.shape[1]:
                return self._back(state, stage.columns)
        return state

    def _back(self, state: Tensor, columns: Tensor) -> Tensor:
        if state.shape[1] == self.length and columns.shape[1] != self.length:
            return state
        lending = self.visual
        if lending is not None and self.attention_mask is not None:
            lending = lending | ~self.attention_mask[:, self.past :]
        return put_back(state, torch.where(columns >= 0, columns - self.past, -1), self.length, lending)


def embeddings_of(call: DecoderCall) -> Tensor:
    """The embeddings that a decoder is called with; the runtime looks ids up before it makes a step."""
    if call.embeds is None:
        raise UnsupportedInputError("The decoder was called without embeddings; pass ids or embeddings.")
    return call.embeds


def _counted(table: SlotTable) -> list[int]:
    """Of each row, its visual slots, read from the device."""
    return list(fetch([table.visual_count])[0].tolist())
