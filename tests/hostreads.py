"""What the host reads from a device: each time that todre waits for numbers, on tensors that only say where they are.

`HostReads` is `Devices`, and beside it notes every operation that on a real GPU returns only when the queue is empty:
a number or a list of a device's tensor, a copy to the host or (unless it says that it need not wait) from it, and
results whose size depends on values. Noted is what was asked from a line of todre, not what transformers asks itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from pseudodevices import HOST, Devices, place
from torch import Tensor

import todre

ROOT = Path(todre.__file__).parent
TORCH = Path(torch.__file__).parent
HERE = Path(__file__).parent

NUMBERS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "equal", "allclose"}
SIZED = {"nonzero", "unique", "unique_consecutive", "masked_select", "bincount", "repeat_interleave", "argwhere"}


class HostReads(Devices):
    """Inside the block, `lines` are the places in todre that waited for a device: (file, line, operation)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, int, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self._waits(name, args, kwargs or {}):
            self._note(name)
        return super().__torch_function__(func, types, args, kwargs)

    def _waits(self, name: str, args: Any, kwargs: dict[str, Any]) -> bool:
        tensors = [one for one in args if isinstance(one, Tensor)]
        away = any(place(one) != HOST for one in tensors)
        if name == "repeat_interleave" and not (len(args) > 1 and isinstance(args[1], Tensor)):
            return False
        if name in NUMBERS or name in SIZED:
            return away
        if name in ("to", "cpu", "cuda"):
            where = HOST if name == "cpu" else self._destination(args, dict(kwargs))[0]
            here = place(args[0])
            if here == where or HOST not in (here, where):
                return False
            return where == HOST or not kwargs.get("non_blocking", False)
        if name in ("tensor", "as_tensor"):
            return torch.device(kwargs.get("device") or HOST) != HOST
        if name in ("__getitem__", "__setitem__") and place(args[0]) != HOST:
            return any(self._index_waits(one) for one in (args[1] if isinstance(args[1], tuple) else (args[1],)))
        return False

    @staticmethod
    def _index_waits(index: Any) -> bool:
        """A mask has to be counted, and indices on the host have to be copied."""
        if isinstance(index, Tensor):
            return index.dtype == torch.bool or (place(index) == HOST and index.ndim > 0)
        return isinstance(index, list)

    def _note(self, name: str) -> None:
        frame = sys._getframe(2)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if TORCH not in path.parents and HERE not in path.parents:
                break
            frame = frame.f_back
        if frame is not None and ROOT in Path(frame.f_code.co_filename).parents:
            self.lines.append((str(Path(frame.f_code.co_filename).relative_to(ROOT)), frame.f_lineno, name))
