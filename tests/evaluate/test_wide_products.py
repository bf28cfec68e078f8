"""Wide products give bfloat16's products, rounded once, and touch nothing else."""

import pytest
import torch
from torch.nn import functional

from todre.evaluate import wide_products as room
from todre.evaluate.wide_products import BLOCK, FEW, INSTRUCTIONS, wide_products

HALF_A_STEP = 2.0**-8 + 2.0**-20
"""Half the distance of two numbers in bfloat16, relative to the smaller, and what sums in float32 may add."""


def made(*shape, seed=0, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.1).to(dtype)


PRODUCTS = {
    "linear": (functional.linear, (made(2, 9, 33), made(17, 33, seed=1)), {}),
    "linear with bias": (functional.linear, (made(40, 33), made(17, 33, seed=1)), {"bias": made(17, seed=2)}),
    "linear in blocks": (functional.linear, (made(9, 1024), made(2 * BLOCK // 1024 + 5, 1024, seed=1)), {}),
    "linear in blocks with bias": (
        functional.linear, (made(9, 1024), made(BLOCK // 1024 + 5, 1024, seed=1), made(BLOCK // 1024 + 5, seed=2)), {}
    ),
    "matmul": (torch.matmul, (made(3, 9, 33), made(33, 5, seed=1)), {}),
    "matmul of a batch": (torch.Tensor.matmul, (made(3, 2, 9, 33), made(3, 2, 33, 5, seed=1)), {}),
    "bmm": (torch.bmm, (made(3, 9, 33), made(3, 33, 5, seed=1)), {}),
    "at": (torch.Tensor.__matmul__, (made(9, 33), made(33, 5, seed=1)), {}),
    "conv2d": (functional.conv2d, (made(2, 3, 8, 8), made(5, 3, 2, 2, seed=1), made(5, seed=2), 2), {}),
    "conv2d by name": (functional.conv2d, (made(2, 3, 8, 8), made(5, 3, 2, 2, seed=1)), {"stride": 2, "padding": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_the_exact_one_rounded(name):
    function, args, kwargs = PRODUCTS[name]
    wide = {key: value.double() if isinstance(value, torch.Tensor) else value for key, value in kwargs.items()}
    exact = function(*(x.double() if isinstance(x, torch.Tensor) else x for x in args), **wide)
    with wide_products(force=True), torch.inference_mode():
        found = function(*args, **kwargs)
    assert (found.dtype, found.shape) == (torch.bfloat16, exact.shape)
    assert ((found.double() - exact).abs() <= exact.abs() * HALF_A_STEP).all()


@pytest.mark.parametrize("name", PRODUCTS)
def test_pytorchs_own_product_differs_by_one_step_at_most(name):
    function, args, kwargs = PRODUCTS[name]
    with torch.inference_mode():
        own = function(*args, **kwargs)
        with wide_products(force=True):
            found = function(*args, **kwargs)
    assert ((found.float() - own.float()).abs() <= own.float().abs() * 2.0**-7).all()


def taken(monkeypatch, call, force=True):
    """Whether a call was answered by a wide product."""
    seen = []
    monkeypatch.setattr(room, "_WIDER", {key: lambda *a, **k: seen.append(1) for key in room._WIDER})
    with wide_products(force=force):
        call()
    return bool(seen)


def test_what_is_taken(monkeypatch):
    x, weight = made(FEW, 33), made(17, 33, seed=1)
    with torch.inference_mode():
        assert taken(monkeypatch, lambda: functional.linear(x, weight))
        assert taken(monkeypatch, lambda: x @ weight.T)
        assert taken(monkeypatch, lambda: torch.nn.Linear(33, 5, dtype=torch.bfloat16)(x))
        assert not taken(monkeypatch, lambda: functional.linear(x[1:], weight)), "few rows"
        assert not taken(monkeypatch, lambda: functional.linear(x.float(), weight.float())), "float32"
        assert not taken(monkeypatch, lambda: functional.linear(x.half(), weight.half())), "float16"
        assert not taken(monkeypatch, lambda: functional.linear(x.to("meta"), weight.to("meta"))), "another device"
        assert not taken(monkeypatch, lambda: x * x), "no product of matrices"
    assert not taken(monkeypatch, lambda: functional.linear(x, weight)), "gradients may be asked for"


@pytest.mark.parametrize("feature", INSTRUCTIONS)
def test_processors_with_instructions_keep_their_own(monkeypatch, feature):
    x, weight = made(FEW, 33), made(17, 33, seed=1)
    known = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}
    with torch.inference_mode():
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
        assert taken(monkeypatch, lambda: functional.linear(x, weight), force=False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known | {feature: True})
        assert not taken(monkeypatch, lambda: functional.linear(x, weight), force=False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known | {"architecture": "aarch64"})
        assert not taken(monkeypatch, lambda: functional.linear(x, weight), force=False), "not measured there"
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
        assert not taken(monkeypatch, lambda: functional.linear(x, weight), force=False), "nothing is known"


def test_nothing_is_left_after_the_block(monkeypatch):
    x, weight = made(FEW, 33), made(17, 33, seed=1)
    seen = []
    monkeypatch.setattr(room, "_WIDER", {key: lambda *a, **k: seen.append(1) for key in room._WIDER})
    with pytest.raises(KeyError), wide_products(force=True):
        raise KeyError
    with torch.inference_mode():
        functional.linear(x, weight)
    assert not seen
