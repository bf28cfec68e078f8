"""The record that a method is shown after a decoder layer (stage 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.methods.views.reduction import Reduction
from todre.tensors.attention import AttentionInputs, attention_scores
from todre.tensors.columns import DRAFT, PAD, TEXT, VISUAL, take_columns
from todre.tensors.cross_attention import mean_mass
from todre.tensors.row_counts import RowCounts
from todre.tensors.token_facts import Signal
from todre.tensors.transfer import fetch, known_places, upload


@dataclass(frozen=True)
class ReduceContext:
    """The record that a method is shown after `layer` of `n_layers` decoder layers.

    Sizes: b rows, s key slots, q columns in flight (those that the next layer runs on; the last q key slots are
    theirs), l columns of the whole forward. "On the host" means that no device has to be read.

    Attributes:
        layer: count of layers run, 1-based.
        n_layers: number of decoder layers.
        attention_inputs: queries and keys of the layer that just ran; None if no method reads them.
        kinds: (b, s) int8 class of each key slot (columns.py).
        hidden: (b, q, d) hidden states that enter the next layer.
        entered: (b,) int64 on the host, visual tokens of this forward that entered the decoder.
        offered: (b,) int64 on the host, visual tokens of this forward before any selection.
        columns: (b, q) int64, for each column in flight its 0-based number among the l columns; -1 at padding.
        signal_maps: for each requested signal of the vision tower, its values at the l columns, (b, l) float32.
        entry: (b, l, d) embeddings that entered the decoder; None unless a method reads them.
        peek: computes the queries and keys that the next layer will make of `hidden`, for the q columns alone.
        row_counts: columns in flight by kind, on the host; None where only the device knows. Columns that
            earlier methods dropped at the same layer are not counted.
        present: visual tokens of this forward in each row, on the host; None where only the device knows.
        earlier: visual slots of earlier turns in each row, on the host; None where only the device knows.
        causal: whether the layer's attention is known to be causal.
        asked_later: later layers after which the method is asked again.
        readable_later: later layers whose attention can be read.
        look: computes the queries and keys that a later layer would make of `hidden`, with the cached keys of earlier
            turns before them, and the (b, s) classes of these keys; None where it cannot be known.
        angles: finds cosine and sine of the rotary angles that the next layer is given for the columns in flight,
            (axes, b or 1, q, c) or (b or 1, q, c) each, or None where it is given none; None where it cannot be known.
        memo: `Reduction.memo` of the method's own latest answer in this forward that had one; None before that.
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
    asked_later: Sequence[int] = ()
    readable_later: Sequence[int] = ()
    look: Callable[[int], tuple[AttentionInputs, Tensor]] | None = None
    angles: Callable[[], tuple[Tensor, Tensor] | None] | None = None
    memo: Any = None

    @property
    def queries(self) -> int:
        """Number of columns in flight, q."""
        return int(self.hidden.shape[1])

    @property
    def visual(self) -> Tensor:
        """Visual key slots of this forward and of earlier turns, (b, s) bool."""
        return self.kinds == VISUAL

    @property
    def fresh(self) -> Tensor:
        """Visual key slots of this forward, all of them in flight, (b, s) bool."""
        fresh = self.visual
        fresh[:, : fresh.shape[1] - self.queries] = False
        return fresh

    @property
    def fresh_counts(self) -> list[int]:
        """Visual tokens of this forward in each row.

        The device is read only if `present` is None.
        """
        if self.present is not None:
            return list(self.present)
        return list(fetch([self.fresh.sum(dim=1)])[0].tolist())

    @property
    def earlier_counts(self) -> list[int]:
        """Visual slots of earlier turns in each row.

        The device is read only if `earlier` is None.
        """
        if self.earlier is not None:
            return list(self.earlier)
        before = self.kinds.shape[1] - self.queries
        return list(fetch([self.visual[:, :before].sum(dim=1)])[0].tolist())

    @property
    def text_counts(self) -> list[int]:
        """Text tokens after a picture among the columns in flight, in each row.

        The device is read only if `row_counts` is None.
        """
        return self.row_counts.text if self.row_counts is not None else fetch([self.text_rows.sum(dim=1)])[0].tolist()

    def places(self, kind: int) -> Tensor | None:
        """Columns in flight that may be of `kind` (`TEXT` or `VISUAL`) in some row.

        Returns:
            (m,) int64, or None if only the device knows.
        """
        return (
            None if self.row_counts is None else upload(self.row_counts.places(kind, self.queries), self.hidden.device)
        )

    @property
    def text_rows(self) -> Tensor:
        """Columns in flight that hold text after a picture, (b, q) bool."""
        return self.kinds[:, -self.queries :] == TEXT

    @property
    def last_row(self) -> Tensor:
        """The last text column after a picture, one True per row, (b, q) bool.

        A row without such text has its last token that is neither padding nor a draft.
        """
        text = self.text_rows
        known = self.kinds[:, -self.queries :]
        real = torch.where(text.any(dim=1, keepdim=True), text, (known != PAD) & (known != DRAFT))
        place = torch.arange(self.queries, device=real.device, dtype=torch.int64)
        return (place == (place * real).amax(dim=1, keepdim=True)) & (place >= 0)

    def attention(self) -> AttentionInputs:
        """Queries and keys of the layer that ran.

        Raises:
            UnsupportedInputError: the method does not declare `reads_attention`.
        """
        if self.attention_inputs is None:
            raise UnsupportedInputError("This method says that it does not read attention; set reads_attention = True.")
        return self.attention_inputs

    @property
    def values(self) -> Tensor:
        """Values of the layer that ran, (b, kv_heads, s, d).

        Raises:
            UnsupportedInputError: they were not recorded.
        """
        values = self.attention().value
        if values is None:
            raise UnsupportedInputError("The values of this layer were not recorded; use a method that reads none.")
        return values

    def signal(self, request: Signal) -> Tensor:
        """A signal of the vision tower at the fresh visual slots.

        Returns:
            (b, s) float32, NaN at all other slots and where the signal is unknown.

        Raises:
            UnsupportedInputError: the method did not request the signal, or it is unknown for all tokens.
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
        """Embeddings that entered the decoder, of the columns in flight, (b, q, d).

        Raises:
            UnsupportedInputError: the method does not declare `reads_inputs`.
        """
        if self.entry is None:
            raise UnsupportedInputError("This method does not say that it reads inputs; set reads_inputs = True.")
        return take_columns(self.entry, self.columns.clamp(min=0), 1).to(self.hidden.device)

    def scores(self, rows: Tensor, heads: str = "mean", places: Tensor | None = None) -> Tensor:
        """Attention probability of each key, summed over query rows.

        Args:
            rows: (b, q) bool, the query rows.
            heads: how heads are pooled after the softmax, `mean` or `max`.
            places: (m,) int64, columns that include all of `rows`; without it the device is read.

        Returns:
            (b, s) float32.
        """
        return attention_scores(self.attention(), rows, self.kinds != PAD, heads, places)

    def last_scores(self, heads: str = "mean") -> Tensor:
        """`scores` of the query rows `last_row`."""
        return self.scores(self.last_row, heads, self.last_places)

    @property
    def query_places(self) -> Tensor | None:
        """Columns that may be text after a picture, or the `last_row`, in some row.

        Returns:
            (m,) int64, or None if only the device knows.
        """
        counts = self.row_counts
        return None if counts is None else upload(counts.query_places(self.queries), self.hidden.device)

    @property
    def last_places(self) -> Tensor:
        """Columns where `last_row` is True in some row, (m,) int64."""
        return known_places(self.last_row.any(dim=0), min(self.queries, len(self.kinds)))

    def best(self, scores: Tensor, counts: Tensor, **answer: Any) -> Reduction:
        """The reduction that keeps the best visual tokens of this forward.

        Args:
            scores: (b, s), see `keep_top`.
            counts: (b,) on the host, see `keep_top`.
            answer: further fields of the reduction.
        """
        left = [min(count, fresh) for count, fresh in zip(counts.tolist(), self.fresh_counts, strict=True)]
        return Reduction(self.keep_top(scores, counts), left=left, **answer)

    def keep_top(self, scores: Tensor, counts: Tensor) -> Tensor:
        """Mask of the best visual tokens of this forward, and of everything else.

        Args:
            scores: (b, s); ties go to the first.
            counts: (b,) on the host, visual tokens of this forward to keep.

        Returns:
            (b, s) bool, False at the other visual tokens of this forward.
        """
        fresh = self.fresh
        order = scores.float().masked_fill(~fresh, float("-inf")).argsort(dim=1, descending=True, stable=True)
        place = torch.arange(order.shape[1], device=order.device, dtype=torch.int64).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, place)
        return ~fresh | (rank < upload(counts, rank.device)[:, None])

    def ahead(self, layer: int) -> ReduceContext:
        """The context after a later layer, guessed from the present hidden states.

        Nothing is run but what `layer` does before its attention: its norm, and its projections to queries and keys.
        What the layers between would have changed is left out, so what is read from it is an estimate.

        Args:
            layer: one of `asked_later` or `readable_later`.

        Raises:
            UnsupportedInputError: later layers cannot be looked at.
        """
        if self.look is None:
            raise UnsupportedInputError("Later layers cannot be looked at from here; drop without a look ahead.")
        inputs, kinds = self.look(layer)
        kinds = kinds.clone()
        kinds[:, -self.queries :] = self.kinds[:, -self.queries :]
        return replace(self, layer=layer, attention_inputs=inputs, kinds=kinds, look=None, angles=None)

    def text_to_visual(self, admissible: bool = True, last: bool = False) -> Tensor:
        """Mean attention mass of text queries on visual keys, ToDRE eq. 7.

        Args:
            admissible: True counts only the queries that can see a key of the other kind; False counts all.
            last: True counts only the last text token after a picture.

        Returns:
            (b,) float32; NaN where no query qualifies.
        """
        places, among = (self.last_places, self.last_row) if last else (self.places(TEXT), None)
        return mean_mass(self.attention(), self.kinds, TEXT, VISUAL, admissible, places, among)

    def visual_to_text(self, admissible: bool = True) -> Tensor:
        """Mean attention mass of visual queries on text keys; see `text_to_visual`."""
        counts = self.row_counts
        text_is_last = self.causal and counts is not None and not counts.text_first
        if admissible and text_is_last:  # no visual query sees text
            return self.hidden.new_full(self.kinds.shape[:1], torch.nan, dtype=torch.float32)
        return mean_mass(self.attention(), self.kinds, VISUAL, TEXT, admissible, self.places(VISUAL))
