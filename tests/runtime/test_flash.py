"""FlashAttention's rules, emulated: the same results as SDPA, and gaps in positions never read as packed sequences."""

from __future__ import annotations

import flashlike
import pytest
import tinymodels as tm
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from upstream import CACHE

import todre

METHODS = {
    "both-stages": todre.ToDRE(retain=0.2, threshold=1.0, layers=(5,)),
    "compact": todre.ToDRE(retain=0.2, threshold=1.0, layers=(5,), positions="compact"),
    "stage-2": todre.ToDRE(stages=(2,), threshold=1.0, layers=(4,)),
}


def generate(model, inputs, **options):
    return model.generate(
        **inputs, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True, **options
    )


@pytest.fixture(scope="module")
def model():
    return tm.build()


def test_the_emulation_agrees_with_sdpa_on_the_untouched_model(model):
    inputs = tm.ragged(model)
    expected = generate(model, inputs)
    with flashlike.flash_attention(model):
        got = generate(model, inputs)
    assert torch.equal(got.sequences, expected.sequences)


def test_the_emulation_reads_gaps_as_packed_sequences():
    assert flashlike.packed(torch.tensor([[0, 1, 5, 6]]), 1)
    assert not flashlike.packed(torch.tensor([[4, 5, 6]]), 1)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
@pytest.mark.parametrize("name", METHODS)
def test_flash_equals_sdpa(model, name, single, options):
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)]) if single else tm.ragged(model)
    with todre.prune(model, METHODS[name]):
        expected = generate(model, inputs, **options)
    with flashlike.flash_attention(model), todre.prune(model, METHODS[name]):
        got = generate(model, inputs, **options)
        assert ALL_ATTENTION_FUNCTIONS.get(flashlike.NAME) is flashlike.flash_like
    assert torch.equal(got.sequences, expected.sequences)
    for mine, theirs in zip(got.logits, expected.logits, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_one_forward_without_a_mask(model, name, use_cache):
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    inputs.pop("attention_mask")
    with todre.prune(model, METHODS[name]):
        expected = model(**inputs, use_cache=use_cache).logits
    with flashlike.flash_attention(model), todre.prune(model, METHODS[name]):
        got = model(**inputs, use_cache=use_cache).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_second_turn(model, name):
    first = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    second = tm.batch(model, [tm.sample(model, 3, [tm.SIZES[4]], 5, seed=7)])
    pictures = {key: value for key, value in second.items() if key.startswith(("pixel", "image"))}

    def converse():
        with todre.prune(model, METHODS[name]):
            cache = getattr(model(**first, use_cache=True), CACHE)
            return model(input_ids=second["input_ids"], **{CACHE: cache}, **pictures).logits

    expected = converse()
    with flashlike.flash_attention(model):
        got = converse()
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
