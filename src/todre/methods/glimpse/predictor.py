"""The network of GlimpsePrune, which finds the visual tokens of the question."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a glimpse, and the decoder layer at which it looks.

    Attributes:
        layer: count of decoder layers run before the glimpse, 1-based; it uses the next layer's projections.
        n_layers: number of decoder layers of the model.
        width: channels of hidden states.
        heads: query heads.
        head_dim: channels of each head.
        glimpses: number of learned looks.
        condition: channels that a token's embedding is projected to.
        hidden: hidden channels of the predictor.
    """

    layer: int
    n_layers: int
    width: int
    heads: int
    head_dim: int
    glimpses: int = 4
    condition: int = 32
    hidden: int = 64


@dataclass(frozen=True)
class View:
    """Inputs of a glimpse: b questions with t text tokens and n visual tokens each.

    Attributes:
        query: (b, heads, t, head_dim), the next layer's queries of the text, positions applied.
        states: (b, t, width), hidden states of the text that enter the next layer.
        text: (b, t) bool, text that is not padding; at least one token in each row.
        key: (b or 1, kv heads, n, head_dim), the next layer's keys of the visual tokens, positions applied.
        inputs: (b or 1, n, width), visual embeddings that entered the decoder.
        visual: (b or 1, n) bool, visual tokens that are not padding.
        scaling: factor on the logits.
    """

    query: Tensor
    states: Tensor
    text: Tensor
    key: Tensor
    inputs: Tensor
    visual: Tensor
    scaling: float


class Glimpse(nn.Module):
    """Learned looks at the picture, and a predictor that reads their attention.

    Each look first attends to the text: a = softmax over t of (u · h_t / rms(h_t)) / √width, with u learned. Its query
    in each head is Σ a_t q_t + g, with g learned. Its map is the logarithm of its attention over the visual tokens,
    relative to uniform attention. The predictor is a two-layer perceptron on all maps of a token and its projected
    embedding.

    Args:
        shape: sizes of the network.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.look = nn.Parameter(torch.randn(shape.glimpses, shape.width, dtype=torch.float32, device="cpu"))
        self.offset = nn.Parameter(
            torch.zeros(shape.glimpses, shape.heads, shape.head_dim, dtype=torch.float32, device="cpu")
        )
        self.condition = nn.Linear(shape.width, shape.condition, dtype=torch.float32, device="cpu")
        self.mix = nn.Linear(
            shape.glimpses * shape.heads + shape.condition, shape.hidden, dtype=torch.float32, device="cpu"
        )
        self.out = nn.Linear(shape.hidden, 1, dtype=torch.float32, device="cpu")

    def forward(self, view: View) -> Tensor:
        """Logits of the visual tokens, above 0 where the question is about the token.

        Returns:
            (b, n) float32; values at padding have no meaning.
        """
        maps = self.maps(view)
        seen = self.condition(_normed(view.inputs)).expand(len(maps), -1, -1)
        mixed = F.gelu(self.mix(torch.cat([maps, seen], dim=-1)))
        logits: Tensor = self.out(mixed)[..., 0]
        return logits

    def maps(self, view: View) -> Tensor:
        """Logarithm of each look's attention times the number of visual tokens.

        Returns:
            (b, n, glimpses · heads) float32.
        """
        pooled = torch.einsum("gw,btw->bgt", self.look, _normed(view.states)) * self.shape.width**-0.5
        weight = pooled.masked_fill(~view.text[:, None], float("-inf")).softmax(dim=-1)
        query = torch.einsum("bgt,bhtd->bghd", weight, view.query.float()) + self.offset
        key = view.key.float().repeat_interleave(self.shape.heads // view.key.shape[1], dim=1)
        logits = torch.einsum("bghd,bhnd->bghn", query, key.expand(len(query), -1, -1, -1)) * view.scaling
        visual = view.visual[:, None, None]
        even = visual.sum(dim=-1, keepdim=True).float().log()
        logs = logits.masked_fill(~visual, float("-inf")).log_softmax(dim=-1) + even
        return logs.masked_fill(~visual, 0.0).clamp(min=-20.0).flatten(1, 2).transpose(1, 2)


def new_glimpse(shape: Shape, seed: int) -> Glimpse:
    """An untrained glimpse, the same for equal seeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Glimpse(shape)


def _normed(states: Tensor) -> Tensor:
    """Each vector scaled to a mean square of 1, in float32."""
    states = states.float()
    return states * (states.square().mean(dim=-1, keepdim=True) + 1e-6).rsqrt()
