"""Random glimpses and inputs for tests."""

from __future__ import annotations

import torch

from todre.methods.glimpse.predictor import Shape, View, new_glimpse
from todre.methods.glimpse.weights import Trained, sketch_of

SMALL = Shape(layer=1, n_layers=4, width=8, heads=4, head_dim=3, glimpses=2, condition=3, hidden=5)


def lively(shape=SMALL, seed=0):
    """A glimpse whose parameters all change its output."""
    glimpse = new_glimpse(shape, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in glimpse.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return glimpse.eval().requires_grad_(False)


def view_of(shape=SMALL, b=2, t=3, n=7, kv=2, seed=0, scale=1.0):
    """Random inputs of a glimpse without padding."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*sizes):
        return torch.randn(*sizes, generator=generator) * scale

    return View(
        drawn(b, shape.heads, t, shape.head_dim),
        drawn(b, t, shape.width),
        torch.ones(b, t, dtype=torch.bool),
        drawn(b, kv, n, shape.head_dim),
        drawn(b, n, shape.width),
        torch.ones(b, n, dtype=torch.bool),
        0.5,
    )


def trained_for(model, layer=1, seed=0):
    """Random weights that fit a model."""
    config = model.config.get_text_config(decoder=True)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = Shape(layer, config.num_hidden_layers, config.hidden_size, config.num_attention_heads, head_dim)
    return Trained(lively(shape, seed), "0" * 64, sketch_of(model.get_input_embeddings().weight))
