"""Projections that quantisation replaces, as subclasses of nn.Linear or as modules of other types."""

from __future__ import annotations

import loaded
import pytest
import tinymodels as tm
import torch
from torch import nn

import todre


class Stored(nn.Module):
    """A projection that is no nn.Linear and holds no parameter: int8 rows, a scale for each."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("packed", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.packed.float() * self.scale, self.bias)


class StoredLinear(nn.Linear):
    """The same as a subclass."""

    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.stored = Stored(linear)

    def forward(self, x):
        return self.stored(x)


def replaced(part: nn.Module, kind: type) -> int:
    """Replace every nn.Linear within `part`; how many."""
    found = [(module, name) for module in part.modules() for name, child in module.named_children() if _plain(child)]
    for module, name in found:
        setattr(module, name, kind(getattr(module, name)))
    return len(found)


def _plain(child: nn.Module) -> bool:
    return type(child) is nn.Linear


@pytest.mark.parametrize("kind", [Stored, StoredLinear])
@pytest.mark.parametrize("name", ["next-llama", "llava"])
def test_projections_of_any_type(name, kind):
    model = tm.build(name, layers=loaded.LAYERS)
    inputs = tm.ragged(model)
    full = loaded.prefill(model, inputs)
    assert replaced(model.get_decoder(), kind) == 7 * loaded.LAYERS
    assert replaced(model.model.vision_tower, kind) == 6 * 3
    untouched = loaded.run(model, inputs)
    assert (untouched.logits - full).abs().max() > 1e-3
    got = loaded.pruned(model, inputs)
    loaded.assert_same(got, loaded.masked(model, model, inputs, got.report), inputs)
    every = loaded.pruned(model, inputs, todre.ToDRE(retain=1.0, threshold=0.0))
    assert torch.equal(every.logits, untouched.logits)
    pivots = loaded.pruned(model, inputs, todre.ToDRE(retain=0.2, stages=(1,), pivot="cls")).report.kept
    assert loaded.pruned(model, inputs, loaded.FIRST).report.kept == pivots
