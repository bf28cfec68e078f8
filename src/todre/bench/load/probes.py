"""Looks at a server while it works: KV cache, vision tower and memory."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from todre.bench.load.configurations import Configuration
from todre.bench.load.http import get, post
from todre.bench.load.servers import Server

KV_SHARE, KV_BYTES = "vllm:kv_cache_usage_perc", "todre_kv_bytes_peak"
"""Gauges of the KV cache: the used share of vLLM's, and todre's largest in bytes."""
_CACHE, _CACHE_TOKENS = "vllm:cache_config_info", "kv_cache_size_tokens"
"""vLLM's facts about its cache, and the one that tells the cache's size in tokens."""
_TOWER, _STAGE = "todre_stage_seconds_sum", "tower"
"""todre's seconds of each stage of all answers, and the stage's name."""
PROC = Path("/proc")


@dataclass(frozen=True)
class KvUse:
    """KV cache in use at a moment.

    Attributes:
        value: share of the cache, or bytes.
        unit: `share` or `bytes`.
    """

    value: float
    unit: str


def kv_use(server: Server) -> KvUse | None:
    """KV cache in use; None if the server does not tell."""
    values = metrics(server, KV_SHARE, KV_BYTES)
    for name, unit in ((KV_SHARE, "share"), (KV_BYTES, "bytes")):
        if name in values:
            return KvUse(max(values[name]), unit)
    return None


def kv_tokens(server: Server) -> int | None:
    """Tokens that the KV cache has room for; None if the server does not tell."""
    sizes = [labels.get(_CACHE_TOKENS, "") for _, labels, _ in _samples(server, _CACHE)]
    return next((int(size) for size in sizes if size.isdigit()), None)


def metrics(server: Server, *names: str) -> dict[str, list[float]]:
    """Values of the named metrics by name, one for each set of labels."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, _, value in _samples(server, *names):
        found[name].append(value)
    return dict(found)


def _samples(server: Server, *names: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of the named metrics, which some servers can send alone."""
    from prometheus_client.parser import text_string_to_metric_families

    asked = "&".join(f"name[]={name}" for name in names)
    text = get(f"{server.root}/metrics?{asked}") or ""
    lines = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(names))
    for family in text_string_to_metric_families(lines):
        yield from ((each.name, each.labels, each.value) for each in family.samples if each.name in names)


def watch_tower(server: Server, configuration: Configuration) -> None:
    """Make the server count how long its vision tower runs, if it must be told to."""
    if configuration.tower == "vllm":
        _call_worker(server, "time_encoder")


def tower_seconds(server: Server, configuration: Configuration) -> float | None:
    """Seconds that the vision tower ran, since the last call or the server's start.

    None if the server does not tell. vLLM's count begins anew with each call, todre's never does: take the difference.
    """
    if configuration.tower == "metrics":
        return next((value for _, labels, value in _samples(server, _TOWER) if labels.get("stage") == _STAGE), None)
    if configuration.tower == "vllm":
        return _call_worker(server, "encoder_seconds")
    return None


def _call_worker(server: Server, method: str) -> float | None:
    answer = post(f"{server.root}/collective_rpc", {"method": method})
    results = answer.get("results") if isinstance(answer, dict) else None
    try:
        return max(float(each) for each in results or ())
    except (TypeError, ValueError):
        return None


def resident_bytes(process: int) -> int | None:
    """Resident memory of a process and its descendants, in bytes.

    None where there is no /proc. Pages that processes share count for each of them. Only Linux has /proc, and there it
    needs no further package; vLLM runs nowhere else.
    """
    if not (PROC / "self" / "statm").exists():
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(page * pages for pages in map(_resident_pages, _family(process)))


def _family(process: int) -> Iterator[int]:
    yield process
    children: list[str] = []
    for file in (PROC / str(process) / "task").glob("*/children"):
        children += _text(file).split()
    for child in children:
        yield from _family(int(child))


def _resident_pages(process: int) -> int:
    fields = _text(PROC / str(process) / "statm").split()
    return int(fields[1]) if len(fields) > 1 else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""  # the process has just ended
