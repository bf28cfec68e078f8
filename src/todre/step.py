"""One forward of the decoder: what it is given, what each layer sees, and what comes back.

A step is made right before the decoder runs and dropped right after. What must outlive it is on the cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from todre import cache as kv
from todre.cache import SlotTable
from todre.compat import Cache, causal_mask
from todre.dropping import drop_slots
from todre.layout import PAD, VISUAL, Compaction, compact, put_back, token_kinds
from todre.masks import logical_mask
from todre.methods.base import Method
from todre.reduction import ReduceContext, Reduction
from todre.saliency import TokenFacts
from todre.selection import select_batch, visual_tokens


@dataclass
class Pictures:
    """What the enclosing forward knows of its pictures: the visual columns, and facts in the order of the batch."""

    visual: Tensor
    facts: list[TokenFacts]
    drafts: int


@dataclass
class Step:
    """State of one decoder forward.

    Attributes:
        config: the decoder's config.
        n_layers: decoder layers.
        cache: the caller's cache, or None.
        past: logical columns before this forward.
        length: logical columns of this forward.
        attention_mask: the caller's logical mask, (b, past + length) bool, or None.
        columns: (b, q) logical column of each column now in flight; -1 is padding.
        kinds: (b, q) int8 class of each.
        packed: whether the columns in flight are no longer those that came in.
        rotary_positions: positions for the rotary embedding, where the decoder must not see them.
        trace: (layers run, columns, kinds) each time the columns in flight changed.
        overrides: per layer, what it is given in place of what the decoder's loop hands to every layer.
        reductions: per count of layers run, the method's answer.
    """

    config: Any
    n_layers: int
    cache: Cache | None
    past: int
    length: int
    attention_mask: Tensor | None
    columns: Tensor
    kinds: Tensor
    method: Method | None = None
    keep: Tensor | None = None
    visual: Tensor | None = None
    rotary_positions: Tensor | None = None
    select_seconds: float = 0.0
    trace: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    overrides: dict[int, dict[str, Any]] = field(default_factory=dict)
    reductions: dict[int, Reduction] = field(default_factory=dict)
    ratio_rows: dict[int, Tensor] = field(default_factory=dict)

    packed: bool = False

    # -- before the decoder -------------------------------------------------------------------------------------

    @classmethod
    def prefill(cls, config: Any, method: Method, pictures: Pictures, kwargs: dict[str, Any]) -> Step:
        """Select visual tokens and rewrite the decoder's `kwargs` for what is left of the prompt."""
        embeds, cache = kwargs["inputs_embeds"], kwargs.get("past_key_values")
        rows, length = embeds.shape[:2]
        past = int(cache.get_seq_length()) if cache is not None else 0
        mask = logical_mask(kwargs.get("attention_mask"), cache, past, length)
        visual = pictures.visual
        valid = mask[:, past:] if mask is not None else torch.ones_like(visual)
        kinds = token_kinds(visual, valid, kv.seen_picture(cache, rows, embeds.device), pictures.drafts)
        started = time.perf_counter()
        keep = select_batch(method, visual_tokens(embeds, visual, pictures.facts), visual)
        columns = torch.arange(past, past + length, device=embeds.device).expand(rows, length)
        step = cls(config, config.num_hidden_layers, cache, past, length, mask, columns, kinds, method, keep, visual)
        step.select_seconds = time.perf_counter() - started
        dropping = not bool((keep == visual).all())
        packed = compact(valid & (keep | ~visual)) if dropping else None
        step._enter(packed, kwargs)
        return step

    @classmethod
    def continuation(cls, config: Any, tables: list[SlotTable], kwargs: dict[str, Any]) -> Step | None:
        """A forward without pictures on a pruned cache; None when the decoder needs no help with it."""
        embeds, cache = kwargs["inputs_embeds"], kwargs["past_key_values"]
        rows, length = embeds.shape[:2]
        for table in tables:
            table.begin(length)
        if all(table.identity for table in tables):
            return None
        past = int(cache.get_seq_length())
        mask = logical_mask(kwargs.get("attention_mask"), cache, past, length)
        columns = torch.arange(past, past + length, device=embeds.device).expand(rows, length)
        step = cls(config, config.num_hidden_layers, cache, past, length, mask, columns, torch.empty(0))
        step._shift_positions(kwargs, None)
        step._set_masks(kwargs, embeds, queries=length)
        return step

    def _enter(self, packed: Compaction | None, kwargs: dict[str, Any]) -> None:
        """Give the decoder the packed prompt, and the cache its tables."""
        shift = self._shift_positions(kwargs, packed)
        if packed is not None:
            self.pack(packed)
            kwargs["inputs_embeds"] = packed.take(kwargs["inputs_embeds"])
        self.trace.append((0, self.columns, self.kinds))
        if self.cache is not None:
            self._extend_tables(packed, shift)
        embeds = kwargs["inputs_embeds"]
        if self.cache is None and packed is not None:
            valid = packed.valid if packed.padded else None
            kwargs["attention_mask"] = causal_mask(self.config, embeds, valid, slots=0)
        elif any(not table.identity for table in kv.distinct_tables(self.cache)):
            self._set_masks(kwargs, embeds, queries=0)
        if self.rotary_positions is not None:
            start = self.past
            kwargs["position_ids"] = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]

    def _extend_tables(self, packed: Compaction | None, shift: Tensor | None) -> None:
        """Write this forward's columns into the slot table of every layer."""
        cache = self.cache
        if cache is None:
            return
        rows, device = self.columns.shape[0], self.columns.device
        new: dict[int, SlotTable] = {}
        for index, layer in enumerate(cache.layers):
            old = kv.table_of(layer)
            if id(old) not in new:
                base = old or SlotTable.before_pictures(rows, self.past, self.attention_mask is not None, device)
                columns, kinds = base.at_length(self.past)
                padded = packed.padded if packed is not None else self.attention_mask is not None
                table = SlotTable(
                    torch.cat([columns, self.columns], dim=1),
                    torch.cat([kinds, self.kinds], dim=1),
                    covered=self.past + self.length,
                    padded=base.padded or padded,
                    identity=base.identity and packed is None,
                    shift=shift,
                )
                table.begin(self.length)
                new[id(old)] = table
            kv.install(cache, index, new[id(old)])

    def _shift_positions(self, kwargs: dict[str, Any], packed: Compaction | None) -> Tensor | None:
        """Work out what positions the rotary embedding gets; returns the tables' new shift."""
        tables = kv.distinct_tables(self.cache)
        shift = tables[0].shift if tables else None
        compacting = self.method is not None and self.method.positions == "compact" and packed is not None
        if packed is None and shift is None:
            return None
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(self.past, self.past + self.length, device=kwargs["inputs_embeds"].device)[None]
        if shift is not None:
            positions = positions - shift[:, None]
        if compacting and self.visual is not None and self.keep is not None:
            gone = (self.visual & ~self.keep).cumsum(dim=1)
            positions = positions - gone
            shift = gone[:, -1] if shift is None else shift + gone[:, -1]
        self.rotary_positions = packed.take(positions) if packed is not None else positions
        return shift

    def _set_masks(self, kwargs: dict[str, Any], embeds: Tensor, queries: int) -> None:
        """Build one mask per distinct table: the first layer's for the decoder, the others as overrides.

        `queries` columns follow what the tables already cover (0 when the tables were just extended).
        """
        cache = self.cache
        if cache is None:
            return
        masks: dict[int, Any] = {}
        first = kv.table_of(cache.layers[0])
        for index, layer in enumerate(cache.layers):
            table = kv.table_of(layer)
            if table is None or table.identity:
                continue
            if id(table) not in masks:
                masks[id(table)] = self.mask_for(layer, table, embeds)
            if index == 0:
                kwargs["attention_mask"] = masks[id(table)]
            elif table is not first:
                self.overrides[index] = {"attention_mask": masks[id(table)]}

    def pack(self, packed: Compaction) -> None:
        """Follow the columns in flight through a compaction."""
        self.packed = True
        self.columns = packed.take(self.columns).masked_fill(~packed.valid, -1)
        self.kinds = packed.take(self.kinds).masked_fill(~packed.valid, PAD)

    def mask_for(self, layer: Any, table: SlotTable, embeds: Tensor) -> Any:
        """The mask of one cache layer for the queries `embeds`."""
        valid = table.valid_slots(self.past + self.length, self.attention_mask)
        capacity = layer.max_cache_len if kv.is_static(layer) else None
        return causal_mask(self.config, embeds, valid, int(kv.slots_of(layer)), capacity)

    # -- inside the decoder -------------------------------------------------------------------------------------

    def wants(self, layer: int) -> bool:
        """Whether the method is to be asked after `layer` layers: some row must still hold visual tokens."""
        return self.method is not None and bool((self.key_kinds(layer) == VISUAL).any())

    def key_kinds(self, layer: int) -> Tensor:
        """(b, s) class of each key of the layer that is the `layer`-th to run."""
        if self.cache is not None:
            table = kv.table_of(self.cache.layers[layer - 1])
            if table is not None:
                return table.kinds
        return self.kinds

    def ask(self, layer: int, query: Tensor, key: Tensor, scaling: float) -> None:
        """Show the method the queries and keys of the `layer`-th layer to run."""
        if self.method is None:
            return
        kinds = self.key_kinds(layer)
        context = ReduceContext(layer, self.n_layers, query, key, scaling, kinds)
        self.ratio_rows[layer] = context.visual.any(dim=1)
        self.reductions[layer] = self.method.reduce(context)

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """What layer `index` (0-based) is given; None to leave it as it is."""
        reduction = self.reductions.get(index)
        if reduction is not None:
            drop = (self.key_kinds(index) == VISUAL) & ~reduction.keep
            if bool(drop.any()):
                args = (drop_slots(self, index, drop, args[0], kwargs["position_embeddings"]), *args[1:])
        override = self.overrides.get(index)
        return None if override is None else (args, kwargs | override)

    # -- after the decoder --------------------------------------------------------------------------------------

    def restore(self, output: Any) -> Any:
        """Put the hidden states back to the length that came in; zeros where a visual token was dropped."""
        if self.packed:
            output.last_hidden_state = self._back(output.last_hidden_state, self.columns)
            states = getattr(output, "hidden_states", None)
            if states is not None:
                output.hidden_states = tuple(self._state_back(depth, state) for depth, state in enumerate(states))
        return output

    def _state_back(self, depth: int, state: Tensor) -> Tensor:
        for _, columns, _ in reversed([entry for entry in self.trace if entry[0] <= depth]):
            if columns.shape[1] == state.shape[1]:
                return self._back(state, columns)
        return state

    def _back(self, state: Tensor, columns: Tensor) -> Tensor:
        if state.shape[1] == self.length and columns.shape[1] != self.length:
            return state
        return put_back(state, torch.where(columns >= 0, columns - self.past, -1), self.length)
