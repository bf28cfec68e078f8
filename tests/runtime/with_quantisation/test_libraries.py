"""Decoders and towers quantised by torchao and bitsandbytes, on the CPU; `make test-quantisation` installs both."""

from __future__ import annotations

import bitsandbytes
import loaded
import pytest
import tinymodels as tm
import torch
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    quantize_,
)
from transformers import BitsAndBytesConfig, LlavaNextForConditionalGeneration, TorchAoConfig

import todre

LOADED = {
    "bitsandbytes-8": BitsAndBytesConfig(load_in_8bit=True),
    "bitsandbytes-4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32),
    "torchao-8": TorchAoConfig(Int8WeightOnlyConfig()),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tm.build(layers=loaded.LAYERS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def inputs():
    return tm.ragged(tm.build(layers=loaded.LAYERS))


def assert_exact(model, inputs):
    """Keeping all changes no bit, and a pruned run equals the masked one."""
    untouched = loaded.run(model, inputs)
    every = loaded.pruned(model, inputs, todre.ToDRE(retain=1.0, threshold=0.0))
    assert torch.equal(every.logits, untouched.logits)
    assert torch.equal(every.tokens, untouched.tokens)
    got = loaded.pruned(model, inputs)
    loaded.assert_same(got, loaded.masked(model, model, inputs, got.report), inputs)


@pytest.mark.parametrize("name", LOADED)
def test_quantised_when_loaded(checkpoint, inputs, name):
    model = LlavaNextForConditionalGeneration.from_pretrained(
        checkpoint, quantization_config=LOADED[name], device_map="cpu", dtype=torch.float32
    ).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, tm.PAD
    projection = model.get_decoder().layers[0].self_attn.q_proj
    quantised = isinstance(projection, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt)
    assert quantised or type(projection.weight).__module__.startswith("torchao")
    assert_exact(model, inputs)


def test_a_decoder_quantised_in_place(inputs):
    model = tm.build(layers=loaded.LAYERS)
    quantize_(model.get_decoder(), Int8WeightOnlyConfig())
    assert_exact(model, inputs)


@torch.no_grad()
def test_quantised_activations_are_as_exact_as_they_are_without_pruning(inputs):
    """A difference in the last place can round an activation to the next of 255 steps; batches do that as well."""
    model = tm.build(layers=loaded.LAYERS)
    quantize_(model.get_decoder(), Int8DynamicActivationInt8WeightConfig())
    got = loaded.pruned(model, inputs)
    expected = loaded.masked(model, model, inputs, got.report)
    columns = loaded.text(inputs)
    off = (got.logits[columns] - expected.logits[columns]).abs().max()
    exact = tm.build(layers=loaded.LAYERS)
    step = (loaded.prefill(model, inputs) - loaded.prefill(exact, inputs))[columns].abs().max()
    assert off <= step
