"""Likelihood of continuations of a prompt under a model.

Each continuation is judged token by token, as the model would generate it. The first token is judged
from the prefill of the prompt alone and the others from decoding steps. So methods that look at the prompt's last token
or at all text decide as they do for an answer, and never see the continuation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from todre.errors import InvalidValueError
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import IDS, MASK
from todre.lmms.requests import Conversation, RowCost, pad_token, prepare_batch, row_costs
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.pruning import prune
from todre.timing import stopwatch


@dataclass(frozen=True)
class Judgement:
    """The likelihood of one continuation, and what judging it cost.

    Attributes:
        log_likelihood: sum of the natural logarithms of the tokens' probabilities.
        tokens: number of tokens in the continuation.
        greedy: whether greedy decoding generates the continuation.
        cost: cost of the row that the continuation was read from.
    """

    log_likelihood: float
    tokens: int
    greedy: bool
    cost: RowCost

    @property
    def loss(self) -> float:
        """Mean of the negative log-probabilities, in nats per token."""
        return -self.log_likelihood / self.tokens


class _Forced(LogitsProcessor):
    """Allows only the next token of `targets` (b, steps) in each row."""

    def __init__(self, targets: Tensor, prompt: int) -> None:
        self.targets, self.prompt = targets, prompt

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        step = ids.shape[1] - self.prompt
        forced = torch.full_like(scores, float("-inf"))
        return forced.scatter(1, self.targets[:, step : step + 1], 0.0)


@torch.inference_mode()
def judge(
    loaded: Loaded,
    method: Method,
    conversations: Sequence[Conversation],
    continuations: Sequence[Sequence[str]],
    batch_size: int,
) -> list[list[Judgement]]:
    """Judge the continuations of each conversation.

    Continuations of a prompt that differ only in their last token, such as letters of choices, share one row.

    Args:
        loaded: model and processor.
        method: the method that prunes.
        conversations: see `todre.processing.prompts`; either all have media, or none has.
        continuations: at least one for each conversation.
        batch_size: most rows of one forward.

    Raises:
        InvalidValueError: a continuation has no token.
        TodreError: the method refuses the model or these inputs.
    """
    prompts = loaded.processor.apply_chat_template(list(conversations), add_generation_prompt=True, tokenize=False)
    tokens = [
        [continuation_tokens(loaded.processor.tokenizer, prompt, text) for text in texts]
        for prompt, texts in zip(prompts, continuations, strict=True)
    ]
    rows = list(dict.fromkeys((place, ids[:-1]) for place, choices in enumerate(tokens) for ids in choices))
    rows.sort(key=lambda row: len(row[1]))
    known: dict[tuple[int, tuple[int, ...]], tuple[Tensor, RowCost]] = {}
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        judged = _forced_logits(loaded, method, [(conversations[place], begin) for place, begin in batch])
        known.update(zip(batch, judged, strict=True))
    return [[_judged(*known[place, ids[:-1]], ids) for ids in choices] for place, choices in enumerate(tokens)]


def continuation_tokens(tokenizer: Any, prompt: str, text: str) -> tuple[int, ...]:
    """Token ids of `text` behind the rendered `prompt`.

    A prompt that ends with white space already has the space that tasks put before a continuation. Where a token would
    span the end of the prompt and the start of the continuation, the continuation is tokenised alone.

    Raises:
        InvalidValueError: the text has no token.
    """
    behind = text.lstrip() if prompt[-1:].isspace() and text.strip() else text
    before = tokenizer.encode(prompt, add_special_tokens=False)
    whole = tokenizer.encode(prompt + behind, add_special_tokens=False)
    fits = whole[: len(before)] == before and len(whole) > len(before)
    ids = whole[len(before) :] if fits else tokenizer.encode(behind, add_special_tokens=False)
    if not ids:
        raise InvalidValueError(f"The continuation {text!r} has no token, so nothing can be said of it; leave it out.")
    return tuple(ids)


def _forced_logits(
    loaded: Loaded, method: Method, rows: Sequence[tuple[Conversation, tuple[int, ...]]]
) -> list[tuple[Tensor, RowCost]]:
    """Log-probabilities (steps, vocabulary) of each row, and the row's cost.

    There is one step for the first token, and one more after each token that the row is forced to begin with.
    """
    inputs, _ = prepare_batch(loaded, [conversation for conversation, _ in rows])
    padding, start = pad_token(loaded), inputs[IDS].shape[1]
    steps = 1 + max(len(begin) for _, begin in rows)
    filled = [[*begin, *[padding] * (steps - len(begin))] for _, begin in rows]
    forced = _Forced(torch.tensor(filled, device=loaded.device, dtype=torch.int64), start)
    with stopwatch(loaded.model) as watch, prune(loaded.model, method) as report:
        output = loaded.model.generate(
            **inputs,
            **greedy_settings(steps),
            pad_token_id=padding,
            logits_processor=[forced],
            return_dict_in_generate=True,
            output_logits=True,
        )
    logits = torch.stack(output.logits, dim=1).float().log_softmax(dim=-1)
    lengths = [len(begin) + 1 for _, begin in rows]
    costs = row_costs(inputs[MASK], lengths, report, watch.timings(report.select_seconds))
    return [(row[:length], cost) for row, length, cost in zip(logits, lengths, costs, strict=True)]


def _judged(logits: Tensor, cost: RowCost, ids: Sequence[int]) -> Judgement:
    targets = torch.tensor(ids, device=logits.device, dtype=torch.int64)
    chosen = logits.gather(1, targets[:, None]).double().sum()
    return Judgement(float(chosen), len(ids), bool((logits.argmax(dim=-1) == targets).all()), cost)
