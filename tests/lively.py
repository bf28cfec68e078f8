"""A small random model in the shipped model's form, with a processor and a chat template: its answers vary."""

import torch
from transformers import LlavaNextForConditionalGeneration

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
    with torch.random.fork_rng():
        torch.manual_seed(5)  # for what is left as it is made: biases, the newline
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
