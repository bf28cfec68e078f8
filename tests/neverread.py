"""A mode that fails on every operation that would make the host wait for a device."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class NeverRead(TorchDispatchMode):
    """Fails on every operation that would make the host wait for a device."""

    readers = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2", "masked_select", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.readers, f"{func} reads a value"
        return func(*args, **(kwargs or {}))
