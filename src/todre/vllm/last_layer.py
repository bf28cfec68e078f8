"""Queries and keys of the last layer of a CLIP tower, which vLLM leaves out.

vLLM builds a tower only up to the layer that features come from.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.tensors.attention import AttentionInputs

_NAME = re.compile(
    r"vision_tower\.(?:vision_model\.)?encoder\.layers\.(\d+)\.(layer_norm1|self_attn\.[qk]_proj)\.(\w+)$"
)


class LastLayer(nn.Module):
    """The parts of the last layer that a signal needs: norm, queries and keys.

    ToDRE reads [CLS] attention there (section 4.1), while LLaVA takes its features from the layer before.

    Args:
        vision_config: config of a CLIP tower.
        like: a weight of another layer, whose dtype and device these have.
    """

    ATTENTION: ClassVar[str] = "self_attn.attn"
    """Where the towers whose last layer is laid out like this have their attention."""

    def __init__(self, vision_config: Any, like: Tensor) -> None:
        super().__init__()
        width = vision_config.hidden_size
        self.heads = vision_config.num_attention_heads
        self.number = vision_config.num_hidden_layers - 1
        self.layer_norm1 = nn.LayerNorm(width, eps=vision_config.layer_norm_eps, dtype=like.dtype, device=like.device)
        self.q_proj = nn.Linear(width, width, dtype=like.dtype, device=like.device)
        self.k_proj = nn.Linear(width, width, dtype=like.dtype, device=like.device)

    def forward(self, states: Tensor, first_only: bool) -> AttentionInputs:
        """What the layer's attention would be called with.

        Args:
            states: (tiles, tokens, d), what enters the layer.
            first_only: make the query of the first token alone, the [CLS].
        """
        x = self.layer_norm1(states)
        query = self.q_proj(x[:, :1] if first_only else x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = self.k_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return AttentionInputs(query=query, key=key, scaling=query.shape[-1] ** -0.5)

    @torch.no_grad()
    def take(self, name: str, weight: Tensor) -> str | None:
        """Copy a weight of the checkpoint if it is this layer's.

        Returns:
            The name of the parameter that was filled, or None.

        Raises:
            UnsupportedModelError: the weight is quantised.
        """
        found = _NAME.search(name)
        if found is None or int(found[1]) != self.number:
            return None
        own = f"{found[2].removeprefix('self_attn.')}.{found[3]}"
        parameter = dict(self.named_parameters()).get(own)
        if parameter is None:
            return None
        if weight.shape != parameter.shape or not weight.is_floating_point() or weight.element_size() < 2:
            raise UnsupportedModelError(
                f"The weight {name} of the vision tower is quantised ({str(weight.dtype).removeprefix('torch.')}), and "
                "signals are read from plain weights; use a checkpoint with a plain tower, or a method without signals."
            )
        parameter.copy_(weight)
        return own
