"""Tables of answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from todre.flops.words import format_flops
from todre.report import format_bytes
from todre.running import Answer


def comparison_table(answers: Sequence[tuple[str, Answer]]) -> Table:
    """Table with one row for each (method's name, answer)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("answer", overflow="fold", max_width=28)
    for heading in ("visual\ntokens", "layer\nmean", "after\nlayer", "FLOPs", "KV\ncache"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("encode\nms", "select\nms", "prefill\nms", "ms per\ntoken", "total\nms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, answer in answers:
        table.add_row(name, Text(answer.text or "(nothing)"), *_savings(answer), *_milliseconds(answer))
    return table


def _savings(answer: Answer) -> tuple[str, str, str, str, str]:
    report = answer.report
    before, after = answer.visual_tokens_before, report.visual_tokens_after[0]
    layer = report.dropped_after_layer[0]
    layers = report.visual_tokens_per_layer[0]
    tokens = f"{before}" if after == before else f"{before} → {after}"
    dropped = "–" if layer is None else f"{layer} → 0"
    return (
        tokens,
        f"{sum(layers) / len(layers):.0f}",
        dropped,
        "–" if answer.flops is None else format_flops(answer.flops.total),
        format_bytes(report.kv_bytes[0]),
    )


def _milliseconds(answer: Answer) -> tuple[str, ...]:
    t = answer.timings
    stages = (t.encode, t.select, t.prefill, t.decode_per_token, t.total)
    return tuple("–" if stage is None else f"{stage:.1f}" if stage < 100 else f"{stage:.0f}" for stage in stages)
