"""Products of bfloat16 matrices on processors that have no instructions for them.

Without `avx512_bf16` or `amx_bf16`, PyTorch's own products in bfloat16 take many times as long as in float32. Both
kinds add up in float32: here the factors are widened, which is exact, multiplied in float32, and the result is rounded
once. It differs from PyTorch's own by the order of sums alone, as two processors' results do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""Processor features with which PyTorch's own products are the faster ones."""
FEW = 8
"""Rows from which on a product is worth the widening of its other factor."""
BLOCK = 1 << 21
"""Most numbers of a weight that are widened at once.

Larger blocks are new memory each time, which is slow.
"""


@contextmanager
def wide_products(force: bool = False) -> Iterator[None]:
    """Run large products of bfloat16 in float32 and round them, where it is faster.

    That is on x86-64 processors without instructions for them. It holds inside the block, for this thread. Products of
    few rows and all other operations are as ever.

    Args:
        force: on any processor.
    """
    if not (force or _lacking()):
        yield
        return
    with _Widening():
        yield


def _lacking() -> bool:
    has = torch.cpu.get_capabilities()
    return has.get("architecture") == "x86_64" and not any(has.get(name) for name in INSTRUCTIONS)


class _Widening(TorchFunctionMode):
    """Answers some calls by products of wider tensors, rounded."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        wider = _WIDER.get(func)
        if wider is None or torch.is_grad_enabled() or not _large(args):
            return func(*args, **kwargs)
        return wider(*args, **kwargs)


def _large(args: tuple[Any, ...]) -> bool:
    """True for at least `FEW` rows of bfloat16 on the CPU."""
    x = args[0] if args else None
    if not isinstance(x, Tensor) or x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return False
    return x.ndim > 1 and x.numel() >= FEW * x.shape[-1]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear layer: x (…, c), weight (o, c) and bias (o,) give (…, o), in x's dtype."""
    wide, added = x.float(), None if bias is None else bias.float()
    rows = max(BLOCK // weight.shape[-1], 1)
    out = x.new_empty(*x.shape[:-1], len(weight))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        out[..., part] = functional.linear(wide, weight[part].float(), None if added is None else added[part])
    return out


def matmul(x: Tensor, other: Tensor) -> Tensor:
    """The product of two tensors as `torch.matmul` has it, in x's dtype."""
    return torch.matmul(x.float(), other.float()).to(x.dtype)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
    """The convolution as `torch.nn.functional.conv2d` has it, in x's dtype."""
    wide = functional.conv2d(x.float(), weight.float(), None if bias is None else bias.float(), *args, **kwargs)
    return wide.to(x.dtype)


_WIDER: dict[Any, Callable[..., Tensor]] = {
    functional.linear: linear,
    functional.conv2d: conv2d,
    **dict.fromkeys((torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__), matmul),
}
