"""Greedy answers under changes of the layers, from one run of the whole decoder.

All questions about a picture stand in one row behind it, and a mask lets each see only the picture and itself, as in
`packed_questions`. The run of the whole decoder keeps the states that enter every layer; a change starts from those of
the first layer that it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from todre.evaluate.packed_questions import Columns, visible
from todre.evaluate.stage2.changes import Change
from todre.evaluate.stage2.prefixes import Prefixes
from todre.evaluate.stage2.watch import AttentionWatch, watching
from todre.hf.layer_spans import LayerSlots, final_norm, run_span
from todre.hf.model_parts import decoder_module
from todre.hf.token_streaming import closing_tokens


class Asked:
    """Questions behind their pictures' prefixes, with the whole decoder's states.

    Args:
        model: a LLaVA-like model with Llama's layers.
        prefixes: the pictures' prefixes.
        ends: (t_i,) token ids of each question behind its picture.
        pictures: 0-based index of each question's picture.
        limits: most new tokens of each answer, the closing token included.

    Attributes:
        whole: new tokens of each question by the whole decoder, the closing token included.
        watch: attention to the picture by layer.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        prefixes: Prefixes,
        ends: Sequence[Tensor],
        pictures: Sequence[int],
        limits: Sequence[int],
    ) -> None:
        self.model, self.decoder, self.prefixes = model, decoder_module(model), prefixes
        self.depth, self.limits, device = len(prefixes.slots), tuple(limits), prefixes.visual.device
        self.pictures = torch.tensor(pictures, dtype=torch.int64, device=device)
        keys = prefixes.slots[0].keys
        assert keys is not None
        starts = torch.full((len(keys),), prefixes.length, dtype=torch.int64, device=device)
        self.columns = Columns.of(ends, pictures, starts)
        lengths = [prefixes.length + len(end) for end in ends]
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=device)
        self._stop = torch.tensor(sorted(closing_tokens(model)), dtype=torch.int64, device=device)
        self.watch = AttentionWatch(prefixes.visual, self.columns, len(ends), self.depth)
        self._entered: dict[int, Tensor] = {}
        embedded = model.get_input_embeddings()(self.columns.ids)
        with watching(model, self.watch):
            slots = [LayerSlots(each.keys, each.values) for each in prefixes.slots]
            layers = range(self.depth)
            states = self._run(embedded, layers, slots, self._entered.__setitem__)
            self._entered[self.depth] = states
            self._slots = [LayerSlots(each.keys, each.values) for each in slots]
            self.whole = self._decode(states, layers, slots, self.watch)

    @torch.inference_mode()
    def changed(self, change: Change) -> list[list[int]]:
        """New tokens of each question when `change` is made, the closing token included."""
        first, blind, gone = change.first(self.depth), change.blind(self.depth), change.gone(self.depth)
        before = self.prefixes.slots
        if any(layer > first and layer not in gone for layer in range(self.depth)) and gone:
            before = self.prefixes.without_layers(self.model, gone)
        text = self.prefixes.text
        slots = [LayerSlots(each.keys, each.values) for each in self._slots[:first]]
        slots += [
            before[layer].part(text) if layer in blind else LayerSlots(before[layer].keys, before[layer].values)
            for layer in range(first, self.depth)
        ]
        layers = [layer for layer in range(self.depth) if layer not in gone]
        states = self._run(self._entered[first], [layer for layer in layers if layer >= first], slots)
        return self._decode(states, layers, slots)

    def _run(self, states: Tensor, span: Sequence[int], slots: Sequence[LayerSlots], seen: Any = None) -> Tensor:
        """States of the questions' columns after the layers `span`, (pictures, c, d)."""
        masks = self._masks(span, slots, self.columns.owner, 0)
        more = {} if seen is None else {"seen": seen}
        return run_span(self.decoder, states, span, self.columns.positions, slots, masks, **more)

    def _masks(
        self, span: Sequence[int], slots: Sequence[LayerSlots], owners: Tensor, earlier: int
    ) -> dict[int, Tensor | None]:
        """Each layer's mask, (pictures, 1, q, k) bool; equal masks are one tensor.

        Args:
            span: the layers.
            slots: keys and values before this run.
            owners: (pictures, k) int64, the question of each column behind the prefixes, this run's included.
            earlier: number of columns in `owners` that came before this run.
        """
        made: dict[int, Tensor] = {}
        masks: dict[int, Tensor | None] = {}
        for layer in span:
            keys = slots[layer].keys
            count = 0 if keys is None else keys.shape[2] - earlier
            if count not in made:
                valid = torch.ones(len(owners), count, dtype=torch.bool, device=owners.device)
                made[count] = visible(valid, owners, earlier)
            masks[layer] = made[count]
        return masks

    def _decode(
        self, states: Tensor, layers: Sequence[int], slots: Sequence[LayerSlots], watch: AttentionWatch | None = None
    ) -> list[list[int]]:
        """New tokens of each question by greedy decoding.

        Args:
            states: (pictures, c, d) states of the questions' columns after the last of `layers`.
            layers: the layers that run.
            slots: keys and values of each layer, the questions' included; changed in place.
            watch: is told of generated tokens.
        """
        tokens: list[list[int]] = [[] for _ in self.limits]
        asking, columns, owners = list(range(len(self.limits))), self.columns, self.columns.owner
        for step in range(max(self.limits)):
            at = self.pictures[asking], columns.last
            new = self.model.get_output_embeddings()(final_norm(self.decoder, states[at])).argmax(dim=-1)
            closed = torch.isin(new, self._stop).tolist()
            for question, token in zip(asking, new.tolist(), strict=True):
                tokens[question].append(token)
            left = [n for n, question in enumerate(asking) if not closed[n] and step + 1 < self.limits[question]]
            if not left:
                break
            asking, new = [asking[n] for n in left], new[left]
            positions, pictures = self.lengths[asking] + step, self.pictures[asking]
            columns = Columns.single(new, positions, asking, pictures, len(self.columns.ids))
            if watch is not None:
                watch.generating(columns)
            earlier = owners.shape[1]
            owners = torch.cat([owners, columns.owner], dim=1)
            masks = self._masks(layers, slots, owners, earlier)
            embedded = self.model.get_input_embeddings()(columns.ids)
            states = run_span(self.decoder, embedded, layers, columns.positions, slots, masks)
        return tokens
