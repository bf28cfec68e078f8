"""Losses and gradients through a pruned forward, with and without checkpointing: those of the masked, whole model."""

from __future__ import annotations

import loaded
import oracles
import peft
import pytest
import tinymodels as tm
import torch
from upstream import CACHE, CHECKPOINTS

import todre
from todre.errors import UnsupportedInputError


def labelled(model, side):
    """A ragged batch whose labels are the text, less the tokens that are predicted from a column without a state."""
    inputs = tm.ragged(model, side)
    labels = inputs["input_ids"].masked_fill(~loaded.text(inputs), -100)
    stateless = ~loaded.text(inputs)
    labels[:, 1:][stateless[:, :-1]] = -100
    return inputs | {"labels": labels, "position_ids": tm.positions(inputs["attention_mask"])}


def learned(called, model, inputs):
    """(loss, gradients by name) of one step."""
    model.zero_grad(set_to_none=True)
    loss = called(**inputs).loss
    loss.backward()
    return loss.detach(), {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


def assert_same(got, expected):
    (loss, gradients), (other_loss, others) = got, expected
    torch.testing.assert_close(loss, other_loss, atol=1e-6, rtol=0)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, others[name], atol=1e-5, rtol=1e-4, msg=name)


def refused(called, model, inputs, method):
    """Whether dropping inside a checkpointed decoder is refused here, which it must be before 5.23 alone."""
    if not CHECKPOINTS.here or method is loaded.FIRST:
        return False
    with todre.prune(called, method), pytest.raises(UnsupportedInputError, match="gradient checkpointing"):
        learned(called, model, inputs)
    return True


def reference(model, inputs, report):
    gone = oracles.from_report(report, inputs["input_ids"] == tm.IMAGE, loaded.LAYERS)
    with oracles.mask_oracle(model, gone, inputs["attention_mask"]):
        return learned(model, model, inputs)


@pytest.mark.parametrize("checkpointing", [None, "reentrant", "not-reentrant"])
@pytest.mark.parametrize("method", [loaded.BOTH, loaded.FIRST], ids=["both-stages", "stage-1"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_step_of_training(method, checkpointing, side):
    """The tower learns too, whose attention is watched while it may be recomputed."""
    model = tm.build(layers=loaded.LAYERS).train()
    inputs = labelled(model, side)
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing == "reentrant"})
        model.enable_input_require_grads()
        if refused(model, model, inputs, method):
            return
    with todre.prune(model, method) as report:
        got = learned(model, model, inputs)
    untouched = tm.build(layers=loaded.LAYERS).train()
    assert_same(got, reference(untouched, inputs, report))
    assert got[1]["model.vision_tower.encoder.layers.0.self_attn.q_proj.weight"].abs().max() > 0


def test_without_pruning_the_step_is_another():
    """The comparison can fail."""
    model = tm.build(layers=loaded.LAYERS).train()
    inputs = labelled(model, "right")
    plain = learned(model, model, inputs)
    with todre.prune(model, loaded.BOTH):
        pruned = learned(model, model, inputs)
    assert (plain[0] - pruned[0]).abs() > 1e-3


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_learns(checkpointing):
    torch.manual_seed(2)
    model = tm.build(layers=loaded.LAYERS)
    inputs = labelled(model, "right")
    config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    wrapper = peft.get_peft_model(model, config).train()
    if checkpointing:
        wrapper.gradient_checkpointing_enable()
        wrapper.enable_input_require_grads()
        if refused(wrapper, model, inputs, loaded.BOTH):
            return
        wrapper.gradient_checkpointing_disable()
    with todre.prune(wrapper, loaded.BOTH) as report:
        if checkpointing:
            wrapper.gradient_checkpointing_enable()
        got = learned(wrapper, model, inputs)
    assert {name for name in got[1] if "lora" not in name} == set()
    wrapper.gradient_checkpointing_disable()
    assert_same(got, reference(model, inputs, report))


def test_checkpointing_leaves_no_cache_behind():
    """As in the untouched model, nothing is cached where layers may run twice."""
    model = tm.build(layers=loaded.LAYERS).train()
    inputs = labelled(model, "right")
    model.gradient_checkpointing_enable()
    untouched = getattr(model(**inputs), CACHE)
    with todre.prune(model, loaded.FIRST if CHECKPOINTS.here else loaded.BOTH):
        assert getattr(model(**inputs), CACHE) == untouched
    assert untouched is None
