"""Peak memory of one call: CUDA's allocator statistics, or torch's CPU profiler."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from todre.hf.model_parts import decoder_module

CUDA = "torch.cuda.max_memory_allocated over the call, less what was allocated before it"
CPU = "running sum of torch.profiler's [memory] events over the call (torch's CPU allocator; not kernels' own scratch)"


@dataclass(frozen=True)
class Peak:
    """Bytes of memory at the peak of a call.

    Attributes:
        above: bytes beyond the memory in use before the call, so without weights and inputs.
        whole: all bytes that the device's allocator held; on the CPU, `above` plus the bytes of the weights.
        method: how the peak was measured.
    """

    above: int
    whole: int
    method: str


def peak_of(device: torch.device, call: Callable[[], object], weights: int) -> Peak:
    """Peak memory of running `call` once; the return value of `call` is dropped.

    Args:
        device: device of the model.
        call: the function to run.
        weights: bytes of the model's weights, added to `whole` on the CPU, where they cannot be measured.
    """
    if device.type == "cuda":
        return _cuda(device, call)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    above = running_peak([(event.start_ns(), event.nbytes()) for event in _memory_events(profiler)])
    return Peak(above, above + weights, CPU)


def peak_before_decoder(model: Any, inputs: Mapping[str, Any]) -> int:
    """Peak bytes of the untouched model before its decoder begins.

    The model encodes the picture and places its features among the embeddings of the whole prompt. Pruning comes
    later, so no method's peak can be lower.

    Args:
        model: a model with no method attached.
        inputs: inputs of the whole prompt.
    """
    handle = decoder_module(model).register_forward_pre_hook(_stop)
    try:
        return peak_of(model.device, functools.partial(_until_stopped, model, inputs), 0).above
    finally:
        handle.remove()


class _Stopped(Exception):
    """Raised when the decoder is about to begin."""


def _stop(module: Any, args: Any) -> None:
    raise _Stopped


@torch.inference_mode()
def _until_stopped(model: Any, inputs: Mapping[str, Any]) -> None:
    with contextlib.suppress(_Stopped):
        model(**inputs)


def running_peak(events: list[tuple[int, int]]) -> int:
    """Largest running sum of (time, bytes) events in order of time; at least 0.

    Freed bytes are negative.
    """
    held = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        held += size
        peak = max(peak, held)
    return peak


def _memory_events(profiler: torch.profiler.profile) -> list[Any]:
    inner = profiler.profiler
    assert inner is not None
    assert inner.kineto_results is not None
    return [event for event in inner.kineto_results.events() if event.name() == "[memory]"]


def _cuda(device: torch.device, call: Callable[[], object]) -> Peak:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    whole = torch.cuda.max_memory_allocated(device)
    return Peak(whole - before, whole, CUDA)
