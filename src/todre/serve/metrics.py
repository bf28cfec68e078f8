"""Metrics of a server for Prometheus, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from todre.serve.answering import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SHARES = (0.0, 0.05, 0.1, 0.125, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_BYTES = tuple(2.0**power for power in range(18, 38))


class Metrics:
    """Counts and times of requests.

    Args:
        running: number of answers that are generated right now.
        admitted: number of requests in the server, the running one included.
    """

    def __init__(self, running: Callable[[], int], admitted: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "todre_requests",
            "Requests for a completion, and all that were refused before, by HTTP status; 499: the client went away.",
            ["status"],
            registry=self.registry,
        )
        self._gauge("todre_requests_running", "Answers that are generated right now.", running)
        self._gauge(
            "todre_requests_waiting",
            "Requests that are read or wait for their turn.",
            lambda: max(admitted() - running(), 0),
        )
        self.before = self._counter("todre_visual_tokens_before", "Visual tokens of the pictures of all answers.")
        self.after = self._counter("todre_visual_tokens_after", "Visual tokens that entered the decoder.")
        self.guarded = self._counter("todre_guarded_pictures", "Pictures in which a guard saw what pruning may harm.")
        self.prompt = self._counter("todre_prompt_tokens", "Tokens of prompts before pruning.")
        self.new = self._counter("todre_generated_tokens", "Generated tokens, closing tokens included.")
        self.inside = self._histogram(
            "todre_dropped_inside_share",
            "Share of the decoder's layers times visual tokens that was dropped inside it, of answers with pictures.",
            _SHARES,
        )
        self.first_token = self._histogram(
            "todre_time_to_first_token_seconds", "From the request's arrival to its first token.", _SECONDS
        )
        self.kv_bytes = self._histogram("todre_kv_bytes", "Bytes of KV cache of an answer after its prefill.", _BYTES)
        self.kv_bytes_unpruned = self._histogram(
            "todre_kv_bytes_unpruned", "What todre_kv_bytes would be, had nothing been dropped.", _BYTES
        )
        self.kv_bytes_peak = Gauge(
            "todre_kv_bytes_peak", "Largest todre_kv_bytes of any answer so far.", registry=self.registry
        )
        self.stages = Histogram(
            "todre_stage_seconds",
            "Time of an answer by stage: tower (with projector), select, prefill, decode, other.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._peak = 0

    def ended(self, status: int) -> None:
        """Count a request that was answered, refused, or left by its client."""
        self.requests.labels(str(status)).inc()

    def answered(self, outcome: Outcome, arrived: float) -> None:
        """Count what an answer took; `arrived` is the request's time by `time.monotonic`."""
        kept, timings = outcome.kept, outcome.timings
        self.before.inc(kept.before)
        self.after.inc(kept.after)
        self.guarded.inc(sum(bool(seen.above) for seen in kept.guarded or ()))
        self.prompt.inc(outcome.prompt_tokens)
        self.new.inc(outcome.new_tokens)
        if kept.before:
            self.inside.observe(kept.dropped_inside)
        self.first_token.observe(outcome.first_token_at - arrived)
        self.kv_bytes.observe(kept.kv_bytes)
        self.kv_bytes_unpruned.observe(kept.kv_bytes_unpruned)
        self._peak = max(self._peak, kept.kv_bytes)
        self.kv_bytes_peak.set(self._peak)
        stages = {
            "tower": timings.encode,
            "select": timings.select,
            "prefill": timings.prefill,
            "decode": timings.decode,
            "other": timings.other,
        }
        for stage, milliseconds in stages.items():
            self.stages.labels(stage).observe(milliseconds / 1000)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        page: bytes = generate_latest(self.registry)
        return page

    def _gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)
