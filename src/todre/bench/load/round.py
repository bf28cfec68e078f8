"""One round: a cell's requests to one configuration, while its server is watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from todre.bench.load.client import Driven, Progress, Target, drive
from todre.bench.load.configurations import Configuration
from todre.bench.load.probes import KvUse, kv_use, resident_bytes, tower_seconds
from todre.bench.load.requests import Messages
from todre.bench.load.servers import Server

MEMORY_EVERY = 1.0
"""Seconds between two looks at a server's memory."""


@dataclass(frozen=True)
class Moment:
    """The server's memory at a moment.

    Attributes:
        seconds: time since the round began.
        done: number of requests that have ended.
        resident: bytes of resident memory of the server's processes.
    """

    seconds: float
    done: int
    resident: int


@dataclass(frozen=True)
class Round:
    """What one round found.

    Attributes:
        driven: the requests' outcomes.
        kv: KV cache in use whenever it was looked at.
        tower: seconds that the vision tower ran; None if the server does not tell.
        memory: the server's memory at the start, every second, and at the end; empty where it cannot be read.
    """

    driven: Driven
    kv: list[KvUse] = field(default_factory=list)
    tower: float | None = None
    memory: list[Moment] = field(default_factory=list)


def run_round(
    server: Server,
    configuration: Configuration,
    target: Target,
    requests: list[Messages],
    concurrency: int,
    sample: float,
    tick: Callable[[int], None] = lambda done: None,
) -> Round:
    """Send all requests to a server while looking at its metrics and memory.

    Args:
        server: the running server.
        configuration: whose server it is.
        target: the server's address and what requests say.
        requests: the conversations to send.
        concurrency: number of clients.
        sample: seconds between two looks at the server's metrics.
        tick: called with the number of requests that have ended, whenever memory is looked at.
    """
    return asyncio.run(_round(server, configuration, target, requests, concurrency, sample, tick))


async def _round(
    server: Server,
    configuration: Configuration,
    target: Target,
    requests: list[Messages],
    concurrency: int,
    sample: float,
    tick: Callable[[int], None],
) -> Round:
    progress, began = Progress(), time.perf_counter()
    kv: list[KvUse] = []
    memory: list[Moment] = []

    def look() -> None:
        resident = resident_bytes(server.process.pid)
        if resident is not None:
            memory.append(Moment(time.perf_counter() - began, progress.done, resident))
        tick(progress.done)

    async def watch_kv() -> None:
        while True:
            use = await asyncio.to_thread(kv_use, server)
            if use is not None:
                kv.append(use)
            elif not kv:
                return  # a server that does not tell
            await asyncio.sleep(sample)

    async def watch_memory() -> None:
        while True:
            await asyncio.sleep(MEMORY_EVERY)
            look()

    before = await asyncio.to_thread(tower_seconds, server, configuration)
    look()
    began = time.perf_counter()
    watchers = [asyncio.create_task(watch_kv()), asyncio.create_task(watch_memory())]
    try:
        driven = await drive(target, requests, concurrency, progress)
    finally:
        for watcher in watchers:
            watcher.cancel()
        ended = await asyncio.gather(*watchers, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
    look()
    last = await asyncio.to_thread(kv_use, server)
    kv += [] if last is None else [last]
    after = await asyncio.to_thread(tower_seconds, server, configuration)
    return Round(driven, kv, _spent(configuration, before, after), memory)


def _spent(configuration: Configuration, before: float | None, after: float | None) -> float | None:
    """Seconds between two counts; vLLM's count began anew with the first."""
    if after is None or configuration.tower == "vllm":
        return after
    return after - (before or 0.0)
