"""Timing of a call: the whole call without waits inside, its stages with waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from todre.bench.workloads import Called, Subject, attach_ms
from todre.timing import Stopwatch, stopwatch


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one call.

    Attributes:
        first_token: from the start to the end of the first forward, in a call with no wait inside.
        decode_per_token: from the end of the first forward to the end of the last, divided by the number of forwards
            after the first; None if there was only one forward.
        total: the whole call.
        forwards: from the start to the end of each forward.
        encode, select, prefill: time of the vision tower and projector, of the selection before the LLM, and of the
            rest of the first forward.
        attach: time of attaching and detaching the method, which is not part of the call.
    """

    first_token: float
    decode_per_token: float | None
    total: float
    forwards: tuple[float, ...]
    encode: float
    select: float
    prefill: float
    attach: float


def sample(model: Any, subject: Subject, new_tokens: int) -> Sample:
    """One sample of `subject`.

    On a GPU the subject is called twice: waiting for the device between stages would itself take time, so the stages
    are timed in a second call. On a CPU there is nothing to wait for, and one call gives both.
    """
    attached = 0.0
    if subject.method is not None and subject.of is None and not subject.method.in_pixels:
        attached = attach_ms(model, subject.method)
    if model.device.type == "cuda":
        forwards, total, _ = _marked(model, subject, new_tokens)
        with stopwatch(model) as watch, subject.ready() as call:
            called = call(new_tokens, watch.now)
    else:
        with stopwatch(model) as watch:
            forwards, total, called = _marked(model, subject, new_tokens)
    stages = _stages(watch, called)
    later = len(forwards) - 1
    per_token = (forwards[-1] - forwards[0]) / later if later else None
    return Sample(forwards[0], per_token, total, tuple(forwards), *stages, attached)


def _stages(watch: Stopwatch, called: Called) -> tuple[float, float, float]:
    first = watch.forwards[0] - watch.encode_in_first - called.nested
    return watch.encode, called.select, max(first, 0.0)


def _marked(model: Any, subject: Subject, new_tokens: int) -> tuple[list[float], float, Called]:
    marks = _Marks(model.device)
    handle = model.register_forward_hook(marks)
    try:
        with subject.ready() as call:
            marks.begin()
            called = call(new_tokens, _host_clock)
            total = marks.end()
    finally:
        handle.remove()
    return marks.since_start(), total, called


def _host_clock() -> float:
    return 1000 * time.perf_counter()


class _Marks:
    """Hook that times the end of each forward without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self.host = 0.0
        self.times: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def begin(self) -> None:
        """Wait until the device is idle, then start the clock."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        self.host = _host_clock()
        self._mark()

    def end(self) -> float:
        """Milliseconds since the start, after waiting for all of the device's work."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return _host_clock() - self.host

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self._mark()

    def _mark(self) -> None:
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.events.append(event)
        else:
            self.times.append(_host_clock())

    def since_start(self) -> list[float]:
        """Milliseconds from the start to the end of each forward; call `end` before."""
        if self.cuda:
            return [self.events[0].elapsed_time(event) for event in self.events[1:]]
        return [time - self.times[0] for time in self.times[1:]]
