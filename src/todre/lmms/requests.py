"""Answers to a batch of conversations, with what was pruned and the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from todre.errors import ContractError, UnsupportedInputError
from todre.hf.keywords import IDS, MASK
from todre.lmms.generation import Decoding, StopStrings
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.processing import apply_batch, check_columns
from todre.processing.downsampling import Shown
from todre.pruning import prune
from todre.report import PruningReport
from todre.timing import Timings, stopwatch

Conversation = list[dict[str, Any]]


@dataclass(frozen=True)
class RowCost:
    """What one row of a batch cost.

    Attributes:
        prompt_tokens: tokens of the prompt before pruning, visual ones included.
        new_tokens: generated tokens, the closing one included.
        visual_before: visual tokens of the prompt.
        visual_after: visual tokens that entered the decoder.
        visual_mean: visual tokens that a decoder layer ran on, the mean over layers.
        dropped_after: number of layers run when all visual tokens were dropped, or None.
        rows: number of rows in the batch.
        timings: times of the whole batch, in milliseconds.
    """

    prompt_tokens: int
    new_tokens: int
    visual_before: int
    visual_after: int
    visual_mean: float
    dropped_after: int | None
    rows: int
    timings: Timings

    def to_dict(self) -> dict[str, Any]:
        """Visual tokens, rows and times, ready for JSON; token counts are left out."""
        return {
            "visual_tokens": {
                "before": self.visual_before,
                "after": self.visual_after,
                "layer_mean": round(self.visual_mean, 4),
                "dropped_after": self.dropped_after,
            },
            "batch": {"rows": self.rows, "timings_ms": self.timings.to_dict()},
        }


@dataclass(frozen=True)
class PrunedAnswer:
    """An answer and what it cost."""

    text: str
    cost: RowCost


@torch.inference_mode()
def answer(
    loaded: Loaded, method: Method, conversations: Sequence[Conversation], decoding: Decoding
) -> list[PrunedAnswer]:
    """Answer a batch of conversations; either all have media, or none has.

    Args:
        loaded: model and processor.
        method: the method that prunes.
        conversations: see `todre.processing.prompts`.
        decoding: how to generate.

    Raises:
        TodreError: the method refuses the model or these inputs.
    """
    inputs, _ = prepare_batch(loaded, conversations)
    tokenizer, start = loaded.processor.tokenizer, inputs[IDS].shape[1]
    criteria = [StopStrings(tokenizer, decoding.until, start)] if decoding.until else []
    padding = pad_token(loaded)
    with stopwatch(loaded.model) as watch, prune(loaded.model, method) as report:
        tokens = loaded.model.generate(
            **inputs, **decoding.arguments(), pad_token_id=padding, stopping_criteria=criteria
        )
    new = tokens[:, start:].tolist()
    texts = tokenizer.batch_decode(new, skip_special_tokens=True)
    ends = loaded.model.generation_config.eos_token_id
    lengths = [decoding.length(tokenizer, row[: _length(row, padding, ends)]) for row in new]
    costs = row_costs(inputs[MASK], lengths, report, watch.timings(report.select_seconds))
    return [PrunedAnswer(decoding.cut(text), cost) for text, cost in zip(texts, costs, strict=True)]


def prepare_batch(loaded: Loaded, conversations: Sequence[Conversation]) -> tuple[Any, list[str]]:
    """The model's inputs on its device, and the rendered prompts.

    Raises:
        UnsupportedInputError: a conversation has a clip, and the model takes no clips.
    """
    items = [item for each in conversations for message in each for item in message["content"]]
    clips = any(item["type"] == "video" for item in items)
    if clips and getattr(loaded.processor, "video_processor", None) is None:
        raise UnsupportedInputError(
            f"{loaded.name} takes pictures and no clips; leave tasks on videos out, or use a model that was trained on "
            "video."
        )
    inputs, prompts = apply_batch(loaded.processor, conversations)
    check_columns(loaded.model.config, inputs)
    return inputs.to(loaded.device, dtype=loaded.model.dtype), prompts


def pad_token(loaded: Loaded) -> int:
    """The token id that pads rows after their end."""
    ends = loaded.model.generation_config.eos_token_id
    known = (loaded.model.generation_config.pad_token_id, loaded.processor.tokenizer.pad_token_id)
    return next((token for token in (*known, ends[0] if isinstance(ends, list) else ends) if token is not None), 0)


def row_costs(mask: Tensor, lengths: Sequence[int], report: PruningReport, timings: Timings) -> list[RowCost]:
    """The cost of each row.

    With beams, the report has several equal rows for each prompt.

    Args:
        mask: (b, n) attention mask of the prompts.
        lengths: new tokens of each row.
        report: report of the `prune` block around the call; it has no row if there is no picture.
        timings: times of the call.
    """
    rows, prompts = len(lengths), mask.sum(dim=1).tolist()
    beams = len(report.visual_tokens_before) // rows
    costs = []
    for row in range(rows):
        before = after = 0
        mean, dropped = 0.0, None
        if beams:
            before, after = report.visual_tokens_before[row * beams], report.visual_tokens_after[row * beams]
            mean = sum(report.visual_tokens_per_layer[row * beams]) / report.n_layers
            dropped = report.dropped_after_layer[row * beams]
        costs.append(RowCost(prompts[row], lengths[row], before, after, mean, dropped, rows, timings))
    return costs


def as_shown(cost: RowCost, shown: Shown) -> RowCost:
    """The cost of a row whose pictures may have been resized.

    Its visual tokens before are those of the pictures as they were.

    Raises:
        ContractError: the prompt had other visual tokens than its resized pictures were to have.
    """
    if not shown.visual_tokens:
        return cost
    if cost.visual_before != sum(shown.visual_tokens):
        raise ContractError(
            f"A prompt of resized pictures has {cost.visual_before} visual tokens, and {sum(shown.visual_tokens)} were "
            "expected when their sizes were chosen; use the model's own processor."
        )
    return replace(cost, visual_before=sum(shown.before))


def _length(row: Sequence[int], padding: int, ends: int | list[int] | None) -> int:
    """Number of tokens in a row, without padding after its end."""
    closing = set(ends) if isinstance(ends, list) else {ends}
    first = next((place for place, token in enumerate(row) if token in closing), None)
    if first is not None:
        return first + 1
    length = len(row)
    while length and row[length - 1] == padding:
        length -= 1
    return length
