"""Towers and small helpers that several specimens share."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.specimen import generator
from torch import Tensor, nn
from transformers import PixtralVisionConfig, SiglipVisionConfig


def siglip_tower(side: int, patch: int, layers: int = 3, **settings: Any) -> SiglipVisionConfig:
    """A tower without a [CLS] token."""
    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=side,
        patch_size=patch,
        initializer_range=0.12,
        vision_use_head=False,
        **settings,
    )


def pixtral_tower(side: int, patch: int) -> PixtralVisionConfig:
    """A tower for pictures of any size up to `side`, with rotary positions and no [CLS]."""
    return PixtralVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=side,
        patch_size=patch,
        initializer_range=0.12,
    )


@torch.no_grad()
def stir(model: nn.Module, amount: float = 0.1) -> None:
    """Move every vector off its start (biases from zero, norms from one), and fill what was left at zero."""
    random = generator(17)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=random)
        if parameter.dim() == 1 or not bool(parameter.any()):
            parameter.add_(noise * amount)


@torch.no_grad()
def features(model: Any, kind: str = "image", **inputs: Any) -> Any:
    """What the untouched model puts into the prompt for these pixels."""
    base = model.base_model
    encode = base.get_video_features if kind == "video" else base.get_image_features
    return encode(**inputs, return_dict=True).pooler_output


def pad_to(pixels: list[Tensor], dim: int = 0) -> Tensor:
    """Stack tensors that differ in length along `dim`, zeros at their ends."""
    longest = max(one.shape[dim] for one in pixels)
    padded = []
    for one in pixels:
        shape = list(one.shape)
        shape[dim] = longest - one.shape[dim]
        padded.append(torch.cat([one, one.new_zeros(shape)], dim=dim))
    return torch.stack(padded)


@torch.no_grad()
def remember(model: Any) -> None:
    """Let linear attention remember for dozens of tokens, and keep its rounding small beside the tests' tolerance.

    As transformers starts them, states fade within one token, and outputs near zero are divided by their own size. The
    rule runs over chunks in prefill and step by step in decoding, whose float32 results differ by some 1e-5 of the
    logits' size; so the logits are made smaller here, while a wrong token still moves them a thousand times as much.
    """
    for index, module in enumerate(model.modules()):
        if hasattr(module, "A_log"):
            module.A_log.copy_(torch.rand(module.A_log.shape, generator=generator(29, index)) - 4)
            module.conv1d.weight.mul_(4)
    model.get_output_embeddings().weight.mul_(0.25)
