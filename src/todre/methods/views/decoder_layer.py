"""Stage 2's view of one decoder layer: who is asked, what was seen, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.tensors.attention import AttentionInputs, attention_mass, attention_scores, visible_keys
from todre.tensors.columns import DRAFT, PAD, TEXT, VISUAL, take_columns
from todre.tensors.row_counts import RowCounts
from todre.tensors.token_facts import Signal
from todre.tensors.transfer import fetch, known_places, upload


@dataclass(frozen=True)
class Reduction:
    """A method's answer after one layer.

    Attributes:
        keep: (b, s) bool over the layer's key slots; only visual slots may be dropped.
        text_to_visual: (b,) float32 ratio that led to it, NaN where undefined; None if the method has none.
        visual_to_text: likewise.
        hidden: (b, q, d) hidden states in place of those in flight, for methods that merge; None leaves them.
        parks: whether the states of what is dropped are kept until `rejoin_before` lets them come back.
        memo: whatever `rejoin` will want to know.
        left: of each row, how many visual tokens of this forward `keep` leaves, if the method knows without looking;
            otherwise they are counted, for which the device has to be asked.
        earlier: likewise of the visual slots of earlier turns; None leaves them all.
    """

    keep: Tensor
    text_to_visual: Tensor | None = None
    visual_to_text: Tensor | None = None
    hidden: Tensor | None = None
    parks: bool = False
    memo: Any = None
    left: Sequence[int] | None = None
    earlier: Sequence[int] | None = None

    def after(self, earlier: Reduction | None) -> Reduction:
        """This answer on top of another method's at the same layer."""
        if earlier is None:
            return self
        return Reduction(
            keep=self.keep & earlier.keep.to(self.keep.device),
            text_to_visual=self.text_to_visual if self.text_to_visual is not None else earlier.text_to_visual,
            visual_to_text=self.visual_to_text if self.visual_to_text is not None else earlier.visual_to_text,
            hidden=self.hidden if self.hidden is not None else earlier.hidden,
            parks=self.parks or earlier.parks,
            memo=self.memo if self.parks else earlier.memo,
            left=self.left,
            earlier=self.earlier if self.earlier is not None else earlier.earlier,
        )


@dataclass(frozen=True)
class ParkedView:
    """What `rejoin` is shown when parked tokens come back.

    Attributes:
        layer: count of layers run when they were parked.
        before: (b, q0, d) hidden states of all columns in flight then.
        now: (b, q0, d) hidden states now, 0 where a column is not in flight.
        present: (b, q0) bool, the columns in flight now.
        memo: what the reduction left.
    """

    layer: int
    before: Tensor
    now: Tensor
    present: Tensor
    memo: Any


@dataclass(frozen=True)
class ReduceContext:
    """What a method may look at after `layer` of `n_layers` decoder layers have run.

    Attributes:
        layer: count of layers run, 1-based.
        n_layers: decoder layers in all.
        attention_inputs: queries and keys of that layer; the last q keys are the queries' own. None if no method
            reads them.
        kinds: (b, s) int8 class of each key slot (layout.py).
        hidden: (b, q, d) hidden states that enter the next layer.
        entered: (b,) int64 on the host, visual tokens of this forward that entered the decoder.
        offered: (b,) int64 on the host, visual tokens of this forward before any were selected.
        columns: (b, q) int64, which of the forward's own columns each column in flight is; -1 at padding.
        signal_maps: by request, (b, l) float32 over the forward's own columns, signals of the vision tower.
        entry: (b, l, d) embeddings that came to the decoder; None unless a method reads them.
        peek: computes the queries and keys that the next layer will make of `hidden`, of the q columns alone.
        row_counts: columns in flight by kind, on the host; None where only the device knows. Drops by methods that ran
            before this one at the same layer are counted already.
        present: visual tokens of this forward in each row, on the host; None where only the device knows.
        earlier: visual slots of earlier turns in each row, likewise.
        causal: whether the layer's attention is known to be causal.
    """

    layer: int
    n_layers: int
    attention_inputs: AttentionInputs | None
    kinds: Tensor
    hidden: Tensor
    entered: Tensor
    offered: Tensor
    columns: Tensor
    signal_maps: Mapping[Signal, Tensor]
    entry: Tensor | None
    peek: Callable[[], AttentionInputs]
    row_counts: RowCounts | None = None
    present: Sequence[int] | None = None
    earlier: Sequence[int] | None = None
    causal: bool = False

    @property
    def queries(self) -> int:
        """q, columns in flight."""
        return int(self.hidden.shape[1])

    @property
    def visual(self) -> Tensor:
        """(b, s) bool, visual key slots, also those of earlier turns."""
        return self.kinds == VISUAL

    @property
    def fresh(self) -> Tensor:
        """(b, s) bool, visual key slots of this forward, all of them in flight."""
        fresh = self.visual
        fresh[:, : fresh.shape[1] - self.queries] = False
        return fresh

    @property
    def fresh_counts(self) -> list[int]:
        """Visual tokens of this forward in each row; read from the device only where nobody knows."""
        if self.present is not None:
            return list(self.present)
        return list(fetch([self.fresh.sum(dim=1)])[0].tolist())

    @property
    def earlier_counts(self) -> list[int]:
        """Visual slots of earlier turns in each row; read likewise."""
        if self.earlier is not None:
            return list(self.earlier)
        before = self.kinds.shape[1] - self.queries
        return list(fetch([self.visual[:, :before].sum(dim=1)])[0].tolist())

    @property
    def text_counts(self) -> list[int]:
        """Text after a picture in each row, among the columns in flight; read likewise."""
        return self.row_counts.text if self.row_counts is not None else fetch([self.text_rows.sum(dim=1)])[0].tolist()

    def places(self, kind: int) -> Tensor | None:
        """(m,) int64: columns in flight that may be of a kind (`TEXT` or `VISUAL`) in some row; None if not known."""
        return (
            None if self.row_counts is None else upload(self.row_counts.places(kind, self.queries), self.hidden.device)
        )

    @property
    def text_rows(self) -> Tensor:
        """(b, q) bool, text after a picture."""
        return self.kinds[:, -self.queries :] == TEXT

    @property
    def last_row(self) -> Tensor:
        """(b, q) bool, one True in each row: the last text after a picture, or the last token where there is none."""
        text = self.text_rows
        known = self.kinds[:, -self.queries :]
        real = torch.where(text.any(dim=1, keepdim=True), text, (known != PAD) & (known != DRAFT))
        place = torch.arange(self.queries, device=real.device, dtype=torch.int64)
        return (place == (place * real).amax(dim=1, keepdim=True)) & (place >= 0)

    def attention(self) -> AttentionInputs:
        """Queries and keys of the layer that ran.

        Raises:
            UnsupportedInputError: the method did not ask for them.
        """
        if self.attention_inputs is None:
            raise UnsupportedInputError("This method says that it does not read attention; set reads_attention = True.")
        return self.attention_inputs

    def signal(self, request: Signal) -> Tensor:
        """(b, s) float32, a signal of the vision tower at fresh visual slots, NaN where it is not known.

        Raises:
            UnsupportedInputError: the method did not ask for it, or nothing is known.
        """
        values = self.signal_maps.get(request)
        if values is None:
            raise UnsupportedInputError(
                f"No {request.kind} signal is known for these pictures; encode pictures inside todre.prune(...), or "
                "use a method that does not need it."
            )
        here = values.to(self.hidden.device).gather(1, self.columns.clamp(min=0).to(self.hidden.device))
        whole = torch.full(self.kinds.shape, torch.nan, device=here.device, dtype=torch.float32)
        whole[:, whole.shape[1] - self.queries :] = here
        return whole.masked_fill(~self.fresh, torch.nan)

    @property
    def inputs(self) -> Tensor:
        """(b, q, d) embeddings that entered the decoder, of the columns in flight.

        Raises:
            UnsupportedInputError: the method did not say that it reads them.
        """
        if self.entry is None:
            raise UnsupportedInputError("This method does not say that it reads inputs; set reads_inputs = True.")
        return take_columns(self.entry, self.columns.clamp(min=0), 1).to(self.hidden.device)

    def scores(self, rows: Tensor, heads: str = "mean", places: Tensor | None = None) -> Tensor:
        """(b, s) float32, attention probability of each key, summed over the query rows (b, q); heads pooled after.

        `places` (m,) names columns that hold all these rows; without it the device is asked where they are.
        """
        return attention_scores(self.attention(), rows, self.kinds != PAD, heads, places)

    def last_scores(self, heads: str = "mean") -> Tensor:
        """`scores` of `last_row`."""
        return self.scores(self.last_row, heads, self.last_places)

    @property
    def query_places(self) -> Tensor | None:
        """(m,) int64, columns that may be text after a picture in some row, or its `last_row`; None if not known."""
        return (
            None if self.row_counts is None else upload(self.row_counts.query_places(self.queries), self.hidden.device)
        )

    @property
    def last_places(self) -> Tensor:
        """(m,) int64, columns that hold every `last_row`; at most one for each row."""
        return known_places(self.last_row.any(dim=0), min(self.queries, len(self.kinds)))

    def best(self, scores: Tensor, counts: Tensor, **answer: Any) -> Reduction:
        """The answer that keeps `keep_top` of the scores (b, s); `answer` has the reduction's other fields."""
        left = [min(count, fresh) for count, fresh in zip(counts.tolist(), self.fresh_counts, strict=True)]
        return Reduction(self.keep_top(scores, counts), left=left, **answer)

    def keep_top(self, scores: Tensor, counts: Tensor) -> Tensor:
        """(b, s) bool: of the visual slots in flight the `counts` (b,) best, ties to the first; and all else."""
        fresh = self.fresh
        order = scores.float().masked_fill(~fresh, float("-inf")).argsort(dim=1, descending=True, stable=True)
        place = torch.arange(order.shape[1], device=order.device, dtype=torch.int64).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, place)
        return ~fresh | (rank < upload(counts, rank.device)[:, None])

    def text_to_visual(self, admissible: bool = True) -> Tensor:
        """ToDRE eq. 7, text queries on visual keys, (b,) float32; NaN where no query qualifies."""
        return self._ratio(TEXT, VISUAL, admissible)

    def visual_to_text(self, admissible: bool = True) -> Tensor:
        """ToDRE eq. 7, visual queries on text keys, (b,) float32; NaN where no query qualifies."""
        return self._ratio(VISUAL, TEXT, admissible)

    def _ratio(self, asking: int, asked: int, admissible: bool) -> Tensor:
        """Mean mass of the `asking` queries on the `asked` keys.

        Each softmax row sums to one over S, V and T, so eq. 7's ratio of sums is the mean mass. With `admissible`,
        queries that can see no `asked` key are left out; they can only see zeros. Without it they count, as eq. 7 has
        it.
        """
        queries = self.queries
        places = self.places(asking)
        if (
            asking == VISUAL
            and admissible
            and self.causal
            and self.row_counts is not None
            and not self.row_counts.text_first
        ):
            # all text comes after
            return self.hidden.new_full(self.kinds.shape[:1], torch.nan, dtype=torch.float32)
        target = self.kinds == asked
        rows = self.kinds[:, -queries:] == asking
        seeing = rows & self._reach(target, queries)
        (mass,) = attention_mass(self.attention(), seeing, [target], self.kinds != PAD, places)
        count = (seeing if admissible else rows).sum(dim=1)
        return torch.where(count > 0, mass.sum(dim=1) / count, torch.nan)

    def _reach(self, target: Tensor, queries: int) -> Tensor:
        """(b, q) bool: queries that can see some key of `target`."""
        inputs = self.attention()
        if inputs.mask is None or inputs.mask.ndim != 4:
            return target.cumsum(dim=1)[:, -queries:] > 0
        block = torch.arange(queries, device=target.device, dtype=torch.int64)
        return (visible_keys(inputs, block) & target[:, None, :]).any(dim=-1)
