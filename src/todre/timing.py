"""Time one `generate` call by stage, with hooks that are removed afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from todre.hf.keywords import PIXELS
from todre.hf.model_parts import base_module, decoder_module


@dataclass(frozen=True)
class Timings:
    """Wall-clock milliseconds of one answer, by stage.

    The first five fields add up to `total`.

    Attributes:
        encode: vision tower and projector.
        select: choosing visual tokens before the decoder (stage 1).
        prefill: the rest of the first forward: decoder, stage 2 and language-model head.
        decode: all later forwards.
        other: all time outside these stages (`generate`'s own bookkeeping).
        decode_per_token: `decode` over the number of later forwards; None where one token was enough.
        first_token: from the start to the end of the first forward.
        total: the whole `generate` call.
    """

    encode: float
    select: float
    prefill: float
    decode: float
    other: float
    decode_per_token: float | None
    first_token: float
    total: float

    def to_dict(self) -> dict[str, float | None]:
        """Milliseconds by stage, rounded to a microsecond."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if value is None else round(value, 3) for name, value in values.items()}


def median_of(runs: Sequence[Timings]) -> Timings:
    """The run whose total is the median, so that its stages add up.

    For an even number of runs, the faster of the two middle runs is taken.
    """
    return sorted(runs, key=lambda run: run.total)[(len(runs) - 1) // 2]


class Stopwatch:
    """Collects times and tiles through the hooks of `stopwatch`.

    Read it after the block. `tiles` counts the tiles that the tower encoded; times are in milliseconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device, self.clock = device, clock
        self.encode = 0.0
        self.forwards: list[float] = []
        self.encode_in_first = 0.0
        self.started = self.first_ended = self.ended = 0.0
        self.tiles = 0
        self._open: dict[nn.Module, float] = {}

    def now(self) -> float:
        """Milliseconds of the clock, once the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock() * 1000

    def timings(self, select_seconds: float) -> Timings:
        """Times of each stage of the call that has ended.

        Args:
            select_seconds: time that the selection before the decoder took.
        """
        select = select_seconds * 1000
        first, later = (self.forwards[0], self.forwards[1:]) if self.forwards else (0.0, [])
        prefill = max(first - self.encode_in_first - select, 0.0)
        decode, total = sum(later), self.ended - self.started
        return Timings(
            encode=self.encode,
            select=select,
            prefill=prefill,
            decode=decode,
            other=max(total - self.encode - select - prefill - decode, 0.0),
            decode_per_token=decode / len(later) if later else None,
            first_token=self.first_ended - self.started,
            total=total,
        )

    def begin(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook that notes the start of a module."""
        self._open[module] = self.now()

    def begin_encoder(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Forward pre-hook of the modules that encode pixels.

        It counts the tiles, which arrive as (tiles, channels, height, width).
        """
        pixels = kwargs.get(PIXELS, args[0] if args else None)
        if isinstance(pixels, torch.Tensor) and pixels.dim() == 4:
            self.tiles += pixels.shape[0]
        self.begin(module, args)

    def end_encoder(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the modules that turn pixels into embeddings."""
        spent = self.now() - self._open.pop(module, self.now())
        self.encode += spent
        if any(name is not module for name in self._open):
            self.encode_in_first += spent

    def end_forward(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the whole model."""
        now = self.now()
        self.forwards.append(now - self._open.pop(module, now))
        if len(self.forwards) == 1:
            self.first_ended = now


@contextmanager
def stopwatch(model: Any, clock: Callable[[], float] = time.perf_counter) -> Iterator[Stopwatch]:
    """Time the forwards of `model` inside the block.

    The hooks are removed at the end, after an exception too. Enter it before `todre.prune`, so that its clock starts
    before the pruning's own hooks.

    Args:
        model: a vision-language model of transformers.
        clock: returns seconds; `time.process_time` leaves out the time that other processes take on a busy machine.

    Yields:
        A `Stopwatch`, complete once the block has ended.
    """
    watch = Stopwatch(model.device, clock)
    decoder = decoder_module(model)
    encoders = [
        child for child in base_module(model).children() if all(part is not decoder for part in child.modules())
    ]
    handles = [model.register_forward_pre_hook(watch.begin), model.register_forward_hook(watch.end_forward)]
    for module in encoders:
        handles += [
            module.register_forward_pre_hook(watch.begin_encoder, with_kwargs=True),
            module.register_forward_hook(watch.end_encoder),
        ]
    try:
        watch.started = watch.now()
        yield watch
        watch.ended = watch.now()
    finally:
        for handle in handles:
            handle.remove()
