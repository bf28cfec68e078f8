"""docs/how-to/cross-attention.md: encoder tokens that are left out of cross-attention equal tokens that are masked."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BartConfig,
    BertConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from transformers.modeling_outputs import BaseModelOutput

from todre.select import k_center, max_sum

VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
DECODERS = {
    "trocr": lambda: TrOCRConfig(
        vocab_size=99, d_model=24, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48
    ),
    "bart": lambda: BartConfig(
        vocab_size=99, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48, encoder_layers=2,
        forced_eos_token_id=None,
        encoder_attention_heads=4, encoder_ffn_dim=48,
    ),
    "bert": lambda: BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    ),
}  # fmt: skip
TOKENS, KEPT, STEPS = 17, 6, 7


def built(name, backend):
    """A tiny model with weights large enough for its choices to differ; TrOCR's decoder has a width of its own."""
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VIT), DECODERS[name]())
    model = VisionEncoderDecoderModel(config).eval()
    model.set_attn_implementation(backend)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.25)
    return model


def encoded(model):
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return model.encoder(pixel_values=pixels).last_hidden_state


def taken(tokens, kept):
    return tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))


def greedy_with_masked(model, tokens, kept):
    """Greedy decoding over all tokens, those that are not kept hidden by a mask, without a cache."""
    mask = torch.zeros(tokens.shape[:2], dtype=torch.long).scatter(1, kept, 1)
    projection = getattr(model, "enc_to_dec_proj", None)
    states = tokens if projection is None else projection(tokens)
    ids, logits = torch.ones(len(tokens), 1, dtype=torch.long), []
    for _ in range(STEPS):
        output = model.decoder(
            input_ids=ids, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        )
        logits.append(output.logits[:, -1])
        ids = torch.cat([ids, logits[-1].argmax(dim=-1, keepdim=True)], dim=1)
    return ids, torch.stack(logits)


@pytest.mark.parametrize("rule", [k_center, max_sum])
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("name", DECODERS)
def test_tokens_left_out_equal_tokens_that_are_masked(name, backend, rule):
    model = built(name, backend)
    with torch.no_grad():
        tokens = encoded(model)
        kept = rule(tokens, KEPT, pivot=0)
        assert kept.shape == (3, KEPT)
        assert tokens.shape[1] == TOKENS
        output = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=taken(tokens, kept)), decoder_start_token_id=1,
            pad_token_id=0, eos_token_id=None, max_new_tokens=STEPS, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        ids, logits = greedy_with_masked(model, tokens, kept)
    assert output.sequences.tolist() == ids.tolist()
    torch.testing.assert_close(torch.stack(output.logits), logits, atol=1e-4, rtol=1e-4)


def test_the_tokens_that_are_left_out_matter_to_the_model():
    """Otherwise the comparison above could not fail."""
    model = built("trocr", "eager")
    with torch.no_grad():
        tokens = encoded(model)
        every = torch.arange(TOKENS).expand(3, -1)
        _, whole = greedy_with_masked(model, tokens, every)
        _, few = greedy_with_masked(model, tokens, k_center(tokens, KEPT, pivot=0))
    assert (whole[0] - few[0]).abs().max() > 0.05
