"""Sessions on a small random model whose answers vary from row to row."""

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration

from todre.evaluate import answering
from todre.evaluate.session import Session, Settings
from todre.loading import load
from todre.tiny.export import export
from todre.tiny.model import build_config
from todre.tiny.tokenizer import build_tokenizer

LAYERS = 4


def lively():
    """The shipped architecture, narrower, with random weights large enough that every prompt and picture matters."""
    tokenizer = build_tokenizer()
    config = build_config(tokenizer)
    for part, layers in ((config.vision_config, 3), (config.text_config, LAYERS)):
        part.hidden_size, part.intermediate_size, part.num_hidden_layers = 48, 64, layers
        part.num_attention_heads = part.num_key_value_heads = 4
    config.text_config.head_dim = 12
    model = LlavaNextForConditionalGeneration(config).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 2.0 / parameter.shape[-1] ** 0.5 if "embed" not in name else 1.0
            if parameter.ndim >= 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model, tokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The model as a folder."""
    folder = tmp_path_factory.mktemp("lively")
    export(*lively(), folder)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    return load(checkpoint, device="cpu")


@pytest.fixture(autouse=True)
def short_captions(monkeypatch):
    """Long answers are still longer than others, but tests need no fifty tokens."""
    monkeypatch.setattr(answering, "_NEW_TOKENS", {"caption": 7})


@pytest.fixture
def session(loaded):
    return Session(Settings(split="val", size=96, group_size=2), loaded)
