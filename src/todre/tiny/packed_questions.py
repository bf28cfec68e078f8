"""Run the decoder on one picture and many questions at once.

All questions share the prefix with the picture, and no question sees another.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from transformers import (
    AttentionInterface,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoForConditionalGeneration,
)

from todre.hf.keywords import EMBEDS, MASK, POSITIONS, USE_CACHE
from todre.hf.model_parts import last_states
from todre.tiny.data import TextBatch

ATTENTION = "todre-packed"
TinyModel: TypeAlias = LlavaNextForConditionalGeneration | LlavaNextVideoForConditionalGeneration


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
    prefix_length: int = 0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a shared prefix and packed questions behind it.

    Attention is causal within the first `prefix_length` tokens; for the other tokens, `mask` decides.

    Args:
        module: the attention layer; not read.
        query, key, value: (b, heads, n, d).
        mask: (b, 1, n − prefix_length, n), True (or 0.0) where attention is allowed.
        scaling: factor on the products of queries and keys; None means 1/√d.
        prefix_length: number of tokens in the prefix.
        kwargs: other arguments of attention functions; not read.

    Returns:
        (b, n, heads, d), and None in place of attention weights.
    """
    cut = prefix_length
    shared = F.scaled_dot_product_attention(
        query[:, :, :cut], key[:, :, :cut], value[:, :, :cut], is_causal=True, scale=scaling
    )
    own = F.scaled_dot_product_attention(query[:, :, cut:], key, value, attn_mask=mask, scale=scaling)
    return torch.cat([shared, own], dim=2).transpose(1, 2).contiguous(), None


def use_packed_attention(model: TinyModel) -> None:
    """Switch the decoder of a model in training to `packed_attention`."""
    AttentionInterface.register(ATTENTION, packed_attention)
    model.model.language_model.set_attn_implementation(ATTENTION)


def packed_hidden(model: TinyModel, prefix: torch.Tensor, visual: torch.Tensor, text: TextBatch) -> torch.Tensor:
    """(b, n, width) last hidden states at the questions' tokens, behind one picture.

    Args:
        model: a model that `use_packed_attention` was called on.
        prefix: (p,) ids of the system prompt up to the picture.
        visual: (b, v, width) projected visual tokens, newlines included.
        text: the questions.
    """
    start = model.get_input_embeddings()(prefix)[None].expand(visual.shape[0], -1, -1)
    return hidden_behind(model, torch.cat([start, visual], dim=1), text)


def hidden_behind(model: TinyModel, start: torch.Tensor, text: TextBatch) -> torch.Tensor:
    """(b, n, width) last hidden states at the questions' tokens, behind `start`.

    Args:
        model: a model that `use_packed_attention` was called on.
        start: (b, p, width) embeddings before the questions.
        text: the questions.
    """
    batch, cut = start.shape[:2]
    embeds = torch.cat([start, model.get_input_embeddings()(text.tokens)], dim=1)
    sees_prefix = text.allowed.new_ones(batch, 1, text.tokens.shape[1], cut)
    mask = torch.cat([sees_prefix, text.allowed], dim=-1)
    mask = torch.zeros(mask.shape, device=mask.device, dtype=torch.float32).masked_fill_(~mask, float("-inf"))
    positions = torch.cat(
        [torch.arange(cut, device=mask.device, dtype=torch.int64).expand(batch, -1), cut + text.offsets], dim=1
    )
    arguments = {EMBEDS: embeds, MASK: mask, POSITIONS: positions, USE_CACHE: False}
    output = model.model.language_model(**arguments, prefix_length=cut)
    return last_states(output)[:, cut:]


def answer_loss(model: TinyModel, hidden: torch.Tensor, text: TextBatch) -> torch.Tensor:
    """Weighted cross-entropy over the answers' tokens."""
    chosen = text.targets >= 0
    logits = model.lm_head(hidden[chosen])
    losses = F.cross_entropy(logits, text.targets[chosen], reduction="none")
    weights = text.weights[chosen]
    return (losses * weights).sum() / weights.sum()


def right_answers(model: TinyModel, hidden: torch.Tensor, text: TextBatch) -> dict[str, tuple[int, int]]:
    """Task → (number of right answers, number of questions).

    The true answers are fed in; an answer is right if every token of it is predicted.

    Args:
        model: the model in training.
        hidden: (b, n, width) last hidden states at the questions' tokens.
        text: the questions.
    """
    predicted = model.lm_head(hidden).argmax(-1)
    wrong = (predicted != text.targets) & (text.targets >= 0)
    tally: dict[str, tuple[int, int]] = {}
    for row, tasks in enumerate(text.tasks):
        for index, task in enumerate(tasks):
            good = not bool(wrong[row][text.segments[row] == index].any())
            right, questions = tally.get(task, (0, 0))
            tally[task] = (right + good, questions + 1)
    return tally
