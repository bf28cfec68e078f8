"""What a request kept of its visual tokens, as numbers for replies and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.methods.guard import GuardFinding
from todre.report import PruningReport


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Visual tokens and cache of one request.

    Attributes:
        method: the method's name and fields.
        before: visual tokens of the request's pictures.
        after: visual tokens that entered the decoder.
        per_layer: visual tokens that each decoder layer ran on.
        dropped_after_layer: count of layers run when all visual tokens were dropped, or None.
        kv_bytes: bytes of KV cache after the prefill.
        kv_bytes_unpruned: what `kv_bytes` would be, had nothing been dropped.
        guarded: what a guard saw in each picture; None without one.
    """

    method: dict[str, Any]
    before: int
    after: int
    per_layer: tuple[int, ...]
    dropped_after_layer: int | None
    kv_bytes: int
    kv_bytes_unpruned: int
    guarded: tuple[GuardFinding, ...] | None = None

    @classmethod
    def of(cls, report: PruningReport, row: int = 0) -> Kept:
        """The numbers of one row of a report, which must have seen a prefill."""
        return cls(
            method=dict(report.method),
            before=report.visual_tokens_before[row],
            after=report.visual_tokens_after[row],
            per_layer=tuple(report.visual_tokens_per_layer[row]),
            dropped_after_layer=report.dropped_after_layer[row],
            kv_bytes=report.kv_bytes[row],
            kv_bytes_unpruned=report.kv_bytes_unpruned[row],
            guarded=None if report.guard is None else tuple(report.guarded[row]),
        )

    @property
    def dropped_inside(self) -> float:
        """Share of the decoder's work on visual tokens that was dropped inside it.

        Work is counted as layers times the tokens that entered; 0 where no visual token entered.
        """
        most = self.after * len(self.per_layer)
        return 1 - sum(self.per_layer) / most if most else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The numbers ready for JSON."""
        return {
            "method": self.method,
            "visual_tokens": {"before": self.before, "after": self.after},
            "dropped_after_layer": self.dropped_after_layer,
            "dropped_inside": round(self.dropped_inside, 6),
            "kv_bytes": self.kv_bytes,
            "kv_bytes_unpruned": self.kv_bytes_unpruned,
            **({} if self.guarded is None else {"guarded": [seen.to_dict() for seen in self.guarded]}),
        }
