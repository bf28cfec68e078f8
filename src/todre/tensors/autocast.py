"""Autocast around tensor functions: switched off for exact ones, and remembered for the layers that they call."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, no autocast turns float32 into something coarser."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def current_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast as it is now, to be entered later: for layers that run while `no_autocast` is in force."""
    kind = device.type
    if not torch.amp.autocast_mode.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
