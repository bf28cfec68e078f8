"""What happened in the latest request's prefill, for each row of the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from todre.methods.guard import GuardFinding

ON_DEVICE = ("kept", "kept_from_layer", "attention_ratios", "ratios_ahead", "faded_after_layer", "faded_early")
"""Fields about single tokens, which are read from the device on first access."""


class AttentionRatios(NamedTuple):
    """ToDRE's attention ratios (eq. 7) after one layer.

    A ratio is None where no query could have one.
    """

    text_to_visual: float | None
    visual_to_text: float | None


@dataclass
class PruningReport:
    """Report of the latest prefill, of pictures or of text alone.

    Each list has one entry per row that the decoder ran on. With beams or several return sequences, `generate` repeats
    each sample, and so do these lists. Decoding steps do not change the report. It can be pickled and copied; a copy no
    longer changes.

    Attributes:
        method: the method's name and fields.
        n_layers: number of decoder layers.
        kept: indices of the visual tokens kept by stage 1, counted 0..n-1 within the sample.
        visual_tokens_before: number of visual tokens in the sample.
        visual_tokens_after: number of visual tokens that entered the decoder.
        visual_tokens_per_layer: number of visual tokens that each decoder layer ran on.
        kept_from_layer: count of layers run → indices (0..n-1) of the visual tokens that the next layers ran on,
            with an entry wherever these changed; the first is at 0.
        dropped_after_layer: count of layers run (1-based) when all visual tokens were dropped, or None.
        attention_ratios: layer (1-based) → the ratios measured there.
        ratios_ahead: layer (1-based) → later layer → the ratios that were estimated for it, where ToDRE looked ahead.
        faded_after_layer: count of layers run (1-based) when ToDRE's stage 2 dropped visual tokens, all or down to its
            floor; None if it did not.
        faded_early: True if that was before 7/8 of the depth, and no horizon was measured: a low ratio there does not
            mean that vision is finished. `notes` says so.
        text_tokens: number of tokens in the sample that are neither visual nor padding.
        kv_bytes: bytes of KV cache per row after prefill, padding included; 0 without a cache.
        kv_bytes_unpruned: what `kv_bytes` would be, had nothing been dropped.
        tower_tokens: for each layer of the vision tower, (tokens in a sequence, number of sequences of that length)
            that the layer ran on for all rows together, [CLS] counted; empty if no method acts in the tower. A sequence
            is a tile or, where pictures are packed into one sequence, each part that attends within itself.
        select_seconds: time spent choosing tokens before the decoder, on the host's clock.
        prefills: number of prefills with pictures so far.
        auto_budgets: the number of tokens that an automatic budget gave each picture (or frame); empty without one.
        guard: the guard's fields; None without a guard.
        guarded: what the guard saw in each picture; empty without a guard.
    """

    method: dict[str, Any]
    n_layers: int
    kept: list[list[int]] = field(default_factory=list)
    visual_tokens_before: list[int] = field(default_factory=list)
    visual_tokens_after: list[int] = field(default_factory=list)
    visual_tokens_per_layer: list[list[int]] = field(default_factory=list)
    kept_from_layer: list[dict[int, list[int]]] = field(default_factory=list)
    dropped_after_layer: list[int | None] = field(default_factory=list)
    attention_ratios: list[dict[int, AttentionRatios]] = field(default_factory=list)
    ratios_ahead: list[dict[int, dict[int, AttentionRatios]]] = field(default_factory=list)
    faded_after_layer: list[int | None] = field(default_factory=list)
    faded_early: list[bool] = field(default_factory=list)
    text_tokens: list[int] = field(default_factory=list)
    kv_bytes: list[int] = field(default_factory=list)
    kv_bytes_unpruned: list[int] = field(default_factory=list)
    tower_tokens: list[list[tuple[int, int]]] = field(default_factory=list)
    select_seconds: float = 0.0
    prefills: int = 0
    auto_budgets: list[list[int]] = field(default_factory=list)
    guard: dict[str, Any] | None = None
    guarded: list[list[GuardFinding]] = field(default_factory=list)

    def read_later(self, read: Callable[[], dict[str, Any]]) -> None:
        """Leave the values of single tokens on the device until somebody reads them.

        Args:
            read: returns all of `ON_DEVICE` by name.
        """
        for name in ON_DEVICE:
            self.__dict__.pop(name, None)
        self.__dict__["_read"] = read

    def __getattr__(self, name: str) -> Any:
        read = self.__dict__.get("_read") if name in ON_DEVICE else None
        if read is not None:
            values = read()
            if self.__dict__.get("_read") is read:  # not if another thread's prefill came in between
                self.__dict__.update(values)
                self.__dict__.pop("_read", None)
            return values[name]
        if name in self.__dict__:  # another thread has just read it
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def text_alone(self, text_tokens: list[int], kv_bytes: int) -> None:
        """Record that the latest request had no pictures.

        Args:
            text_tokens: tokens of each row.
            kv_bytes: bytes of KV cache per row.
        """
        rows = len(text_tokens)
        self.__dict__.pop("_read", None)
        self.kept, self.kept_from_layer = [[] for _ in range(rows)], [{0: []} for _ in range(rows)]
        self.attention_ratios, self.ratios_ahead = [{} for _ in range(rows)], [{} for _ in range(rows)]
        self.faded_after_layer, self.faded_early = [None] * rows, [False] * rows
        self.visual_tokens_before, self.visual_tokens_after = [0] * rows, [0] * rows
        self.visual_tokens_per_layer = [[0] * self.n_layers for _ in range(rows)]
        self.dropped_after_layer = [None] * rows
        self.text_tokens = text_tokens
        self.kv_bytes, self.kv_bytes_unpruned = [kv_bytes] * rows, [kv_bytes] * rows
        self.tower_tokens, self.select_seconds = [], 0.0
        self.auto_budgets, self.guarded = [[] for _ in range(rows)], [[] for _ in range(rows)]

    def __getstate__(self) -> dict[str, Any]:
        """All values, read from the device if need be, for pickling and copying."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def survivors(self, row: int) -> list[int]:
        """The visual tokens (0..n-1) of a row that reached the deepest layers.

        If all visual tokens were dropped, these are the tokens that the last layers before that ran on.
        """
        left = [kept for _, kept in sorted(self.kept_from_layer[row].items()) if kept]
        return left[-1] if left else []

    def to_dict(self) -> dict[str, Any]:
        """All values ready for JSON, with layer numbers as strings."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["tower_tokens"] = [[list(pair) for pair in layer] for layer in self.tower_tokens]
        values["attention_ratios"] = [
            {str(layer): ratios._asdict() for layer, ratios in row.items()} for row in self.attention_ratios
        ]
        values["ratios_ahead"] = [
            {str(layer): {str(at): one._asdict() for at, one in found.items()} for layer, found in row.items()}
            for row in self.ratios_ahead
        ]
        values["kept_from_layer"] = [{str(layer): kept for layer, kept in row.items()} for row in self.kept_from_layer]
        values["guarded"] = [[seen.to_dict() for seen in row] for row in self.guarded]
        return values | {"notes": self.notes}

    @property
    def notes(self) -> list[str]:
        """Warnings about the latest prefill, one sentence for each layer or picture."""
        early: dict[int, list[int]] = {}
        for row, (layer, is_early) in enumerate(zip(self.faded_after_layer, self.faded_early, strict=True)):
            if layer is not None and is_early:
                early.setdefault(layer, []).append(row)
        found = [
            f"Stage 2 dropped the picture after layer {layer} of {self.n_layers}{_of_rows(rows, len(self.kept))}, "
            "before 7/8 of the depth, where a low ratio does not mean that vision is finished: measure the horizon "
            "with `todre analyze calibrate`, or set horizon, ahead or floor."
            for layer, rows in sorted(early.items())
        ]
        above = [(row, seen) for row, pictures in enumerate(self.guarded) for seen in pictures if seen.above]
        return found + [
            f"The guard saw {seen.words(self.guard or {})} in picture {seen.picture}{_of_rows([row], len(self.kept))}, "
            f"of which {seen.left} of {seen.tokens} visual tokens entered the LLM."
            for row, seen in above
        ]

    @property
    def summary(self) -> str:
        """What was kept, one line for each row, without the notes."""
        if not self.prefills:
            return f"{self.method['method']}: no picture has been seen yet"
        rows = [self._line(row) for row in range(len(self.kept))]
        if len(rows) == 1:
            return rows[0]
        return "\n".join(f"[{row}] {line}" for row, line in enumerate(rows))

    def __str__(self) -> str:
        return "\n".join([self.summary, *self.notes])

    def _line(self, row: int) -> str:
        before, after = self.visual_tokens_before[row], self.visual_tokens_after[row]
        if not before:
            return "no visual tokens"
        parts = [f"visual tokens {before} → {after} (-{100 * (1 - after / before):.1f} %)"]
        layer = self.dropped_after_layer[row]
        if layer is not None:
            parts.append(f"all dropped after layer {layer} of {self.n_layers}")
        elif self.faded_after_layer[row] is not None:
            left = self.visual_tokens_per_layer[row][-1]
            parts.append(f"{left} left after layer {self.faded_after_layer[row]} of {self.n_layers}")
        if self.kv_bytes[row]:
            parts.append(f"KV {format_bytes(self.kv_bytes_unpruned[row])} → {format_bytes(self.kv_bytes[row])}")
        return ", ".join(parts)


def _of_rows(rows: list[int], count: int) -> str:
    """The rows that a note is about, or "" where there is one row only."""
    return "" if count == 1 else f" in row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows))}"


def format_bytes(count: float) -> str:
    """A number of bytes as text, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError  # pragma: no cover
