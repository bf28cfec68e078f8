"""Autocast turned off for exact tensor functions, and on again for layers inside."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which autocast does not lower the precision of float32 work."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def current_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The autocast state of this moment, as a context to enter later.

    Layers that run while `no_autocast` is in force enter this context.
    """
    kind = device.type
    if not torch.amp.autocast_mode.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
