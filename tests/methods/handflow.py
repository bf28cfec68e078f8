"""The untouched decoder run by hand, layer by layer, without a cache.

Tensors really get shorter and longer. Nothing here uses the runtime. It works on one row at a time, and computes a
layer's attention in float64 from the layer's own projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import oracles
import torch

LOWEST = torch.finfo(torch.float32).min


@dataclass
class Flow:
    """Columns in flight, ascending, and what is known of them.

    Attributes:
        columns: logical columns in flight; those from `length` on are the answer.
        states: hidden state of each, (d,) float32.
        visual: all visual columns of the prompt.
        length: columns of the prompt.
        inputs: (columns, d) float64, embeddings that entered the decoder.
    """

    columns: list[int]
    states: dict[int, torch.Tensor]
    visual: set[int]
    length: int
    inputs: np.ndarray

    @property
    def pictures(self) -> list[int]:
        """Visual columns in flight."""
        return [column for column in self.columns if column in self.visual]

    @property
    def text(self) -> list[int]:
        """Text columns of the prompt after the first picture."""
        return [c for c in range(min(self.visual), self.length) if c not in self.visual]

    def state(self, column: int) -> np.ndarray:
        """Hidden state of a column, (d,) float64."""
        return self.states[column].double().numpy()

    def go_on_with(self, staying: set[int]) -> None:
        """Drop the visual columns that are not in `staying`."""
        self.columns = [c for c in self.columns if c not in self.visual or c in staying]


class Look:
    """Queries and keys of one layer, by column, in float64."""

    def __init__(self, model, layer, flow, angles):
        part = layer.self_attn
        hidden = layer.input_layernorm(torch.stack([flow.states[column] for column in flow.columns]))
        width = part.head_dim
        query, key = part.q_proj(hidden).unflatten(-1, (-1, width)), part.k_proj(hidden).unflatten(-1, (-1, width))
        self.query, self.key = {}, {}
        self.scaling, self.columns = part.scaling, list(flow.columns)
        for place, column in enumerate(flow.columns):
            cosine, sine = (angle[0, column].double().numpy() for angle in angles)
            self.query[column] = [_turned(one, cosine, sine) for one in query[place].double().numpy()]
            self.key[column] = [_turned(one, cosine, sine) for one in key[place].double().numpy()]

    def logits(self, column: int, others: list[int]) -> np.ndarray:
        """Logits before mask and softmax, (heads, others)."""
        heads = len(self.query[column])
        groups = len(self.key[column])
        return (
            np.array(
                [
                    [self.query[column][head] @ self.key[other][head * groups // heads] for other in others]
                    for head in range(heads)
                ]
            )
            * self.scaling
        )

    def attention(self, column: int) -> dict[int, float]:
        """Attention of a query to each column that it sees, averaged over heads."""
        seen = [other for other in self.columns if other <= column]
        logits = self.logits(column, seen)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return dict(zip(seen, (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0), strict=True))


def _turned(vector, cosine, sine):
    half = len(vector) // 2
    return vector * cosine + np.concatenate([-vector[half:], vector[:half]]) * sine


@torch.no_grad()
def run(model, inputs, answer, rule):
    """Logits of a batch of one after the last layer, (vocab,) for each column.

    `rule.before(layer, flow)` is called before layer `layer` (1-based) and `rule.after(layer, flow, look)` after it;
    both change the flow. Columns are ascending.
    """
    decoder = model.get_decoder()
    embeds = torch.cat([oracles.prompt_embeddings(model, inputs), model.get_input_embeddings()(answer)[None]], dim=1)
    length, total = inputs["input_ids"].shape[1], embeds.shape[1]
    visual = set((inputs["input_ids"][0] == model.config.image_token_id).nonzero().flatten().tolist())
    angles = decoder.rotary_emb(embeds, position_ids=torch.arange(total)[None])
    flow = Flow(list(range(total)), dict(enumerate(embeds[0])), visual, length, embeds[0].double().numpy())
    for number, layer in enumerate(decoder.layers, start=1):
        rule.before(number, flow)
        look = Look(model, layer, flow, angles)
        hidden = torch.stack([flow.states[column] for column in flow.columns])[None]
        mask = torch.full((len(flow.columns),) * 2, LOWEST).triu(1)[None, None]
        mine = tuple(angle[:, flow.columns] for angle in angles)
        hidden = layer(hidden, attention_mask=mask, position_embeddings=mine)
        flow.states |= dict(zip(flow.columns, hidden[0], strict=True))
        rule.after(number, flow, look)
    logits = model.lm_head(decoder.norm(torch.stack([flow.states[column] for column in flow.columns])))
    return dict(zip(flow.columns, logits, strict=True))
