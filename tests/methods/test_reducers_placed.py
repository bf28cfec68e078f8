"""Methods inside the LLM where one layer is on one device and the next on another."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from methods import decoder_layers
from pseudodevices import Devices, place, put

from todre.methods.autoprune import AutoPrune
from todre.methods.dart import DART
from todre.methods.fastv import FastV
from todre.methods.ficoco_l import FiCoCoL
from todre.methods.fitprune import FitPrune
from todre.methods.flowcut import FlowCut
from todre.methods.gsearch import GSearch
from todre.methods.mustdrop import MustDrop
from todre.methods.nuwa_text import NuwaText
from todre.methods.psigmoid import PSigmoid
from todre.methods.pyramiddrop import PyramidDrop
from todre.methods.random_deep import RandomDeep
from todre.methods.sparsevlm import SparseVLM
from todre.methods.swiftvlm import SwiftVLM
from todre.methods.vflowopt import VFlowOpt
from todre.methods.views.reduction import ParkedView
from todre.methods.vscan import VScan
from todre.methods.vtw import VTW
from todre.tensors.attention import AttentionInputs

METHODS = [
    AutoPrune(), DART(), FastV(), FiCoCoL(), FitPrune(deletions=(2,) * 8), FlowCut(second=3), GSearch(kept=(0.5,) * 8),
    MustDrop(), NuwaText(), PSigmoid(), PyramidDrop(), RandomDeep(), SparseVLM(), SwiftVLM(layers=(3, 6)), VFlowOpt(),
    VScan(), VTW(),
]  # fmt: skip


def moved(inputs, device):
    query, key, value = (put(each.clone(), device) for each in (inputs.query, inputs.key, inputs.value))
    return AttentionInputs(query, key, inputs.scaling, value=value)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_next_layer_is_on_another_device(method):
    context = decoder_layers.made(layer=3, seed=2)
    want = method.reduce(context)
    following = moved(context.peek(), "cuda:1")
    names = ("kinds", "hidden", "entered", "offered")
    here = {name: put(getattr(context, name).clone(), "cuda:0") for name in names}
    split = dataclasses.replace(
        context, attention_inputs=moved(context.attention_inputs, "cuda:0"), peek=lambda: following, **here
    )
    with Devices():
        got = method.reduce(split)
        assert place(got.keep) == torch.device("cuda:0")
        assert got.hidden is None or place(got.hidden) == torch.device("cuda:0")
        if got.parks:
            now, there = put(context.hidden.clone(), "cuda:1"), put(want.keep.clone(), "cuda:1")
            back = method.rejoin(ParkedView(3, split.hidden, now, there, got.memo))
            assert place(back) == torch.device("cuda:1")
    assert torch.equal(got.keep, want.keep)
    assert (got.hidden is None) == (want.hidden is None)
    if got.hidden is not None:
        assert torch.equal(got.hidden, want.hidden)
