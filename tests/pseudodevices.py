"""Several devices on a machine that has one: tensors that say where they are, and operations that refuse to mix them.

`Devices` is a mode of torch's own function protocol: inside it every tensor carries a place, `.to(device)` changes it,
a factory's `device` sets it, and an operation on tensors of two places fails as it does on real GPUs. All is computed
on the CPU, so results can be compared with the same model on one device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

HOST = torch.device("cpu")


def place(tensor: Tensor) -> torch.device:
    """Where `tensor` says it is."""
    return getattr(tensor, "pseudo_place", HOST)


def put(tensor: Tensor, device: Any) -> Tensor:
    """Say that `tensor` is on `device`."""
    tensor.pseudo_place = torch.device(device)
    return tensor


class Devices(TorchFunctionMode):
    """Inside the block, tensors have places."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return place(args[0])
        if func == Tensor.get_device:
            return place(args[0]).index or -1
        name = getattr(func, "__name__", "")
        if func == Tensor.__iter__:
            return iter([self._there(one, place(args[0])) for one in args[0].unbind(0)])
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        where = None
        if name == "to":
            where, args, kwargs = self._destination(args, kwargs)
        elif kwargs.get("device") is not None:
            where = torch.device(kwargs.pop("device"))
        elif name in ("cpu", "type_as"):
            where = HOST if name == "cpu" else place(args[1])
        if where is None and tensors:
            where = self._common(name, tensors)
        result = func(*args, **kwargs)
        if where is not None and name != "__set__":
            given = {id(one) for one in tensors}
            result = tree_map_only(Tensor, lambda one: self._there(one, where, id(one) in given), result)
        return result

    @staticmethod
    def _there(tensor: Tensor, where: torch.device, given: bool = False) -> Tensor:
        """`tensor` at `where`; a copy if it was `given` from elsewhere."""
        if place(tensor) == where:
            return tensor
        return put(tensor.clone() if given else tensor, where)

    @staticmethod
    def _destination(args: Any, kwargs: Any) -> tuple[torch.device, Any, Any]:
        """`Tensor.to`'s arguments without the device, which is given back."""
        where, rest = place(args[0]), []
        for one in args[1:]:
            if isinstance(one, str | torch.device | int) and not isinstance(one, bool):
                where = torch.device(one)
            elif isinstance(one, Tensor):
                where = place(one)
                rest.append(one.dtype)
            else:
                rest.append(one)
        given = kwargs.pop("device", None)
        where = torch.device(given) if given is not None else where
        kwargs.pop("non_blocking", None)
        return where, (args[0], *rest), kwargs

    @staticmethod
    def _common(name: str, tensors: list[Tensor]) -> torch.device:
        """The one place of all tensors; numbers on the host go along with any."""
        if name in ("__get__", "__set__", "copy_"):
            return place(tensors[0])
        places = {place(one) for one in tensors if not (one.ndim == 0 and place(one) == HOST)}
        if len(places) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device, {name} got {sorted(map(str, places))}")
        return places.pop() if places else HOST
