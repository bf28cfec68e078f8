"""One answer of a conversation, piece by piece.

The whole conversation is computed anew for each answer: which tokens are kept may depend on the latest question, so an
earlier turn's cache would not be what the method asks for now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from todre.chat.conversation import Exchange, Turn, messages_of
from todre.errors import InvalidValueError, LoadError
from todre.fields import Checked
from todre.fields.kinds import Count, Seed
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import IDS
from todre.hf.model_parts import context_length
from todre.hf.token_streaming import closing_tokens, watching
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.guard import Guard
from todre.processing import apply, check_columns
from todre.processing.unknown_words import unknown_words
from todre.pruning import prune_reported
from todre.report import PruningReport
from todre.serving.text_so_far import TextSoFar
from todre.timing import Timings, stopwatch


@dataclass(frozen=True)
class Length(Checked):
    """How long an answer may be, and the seed of methods that choose at random."""

    max_new_tokens: Count = 256
    seed: Seed = 0


@dataclass(frozen=True)
class Reply:
    """An answer, and what it took.

    Attributes:
        text: the answer, without special tokens.
        report: what was kept of the visual tokens of all turns.
        timings: where the time went, in milliseconds.
        first_token: seconds from the question to the first token, preparing pictures included.
        seconds: from the question to the last token.
        new_tokens: number of generated tokens, the closing token included.
        stopped: whether the answer was stopped from outside.
        cut: whether the answer ended because it was as long as it may be.
        unknown: words of the question that the model does not know.
    """

    text: str
    report: PruningReport
    timings: Timings
    first_token: float
    seconds: float
    new_tokens: int
    stopped: bool
    cut: bool
    unknown: tuple[str, ...]


def reply(
    loaded: Loaded,
    earlier: tuple[Exchange, ...],
    turn: Turn,
    method: Method,
    length: Length,
    on_text: Callable[[str], None] = lambda piece: None,
    stopped: Callable[[], bool] = lambda: False,
    guard: Guard | None = None,
) -> Reply:
    """Answer a turn; the model is left as it was.

    Args:
        loaded: model and processor.
        earlier: what was said before.
        turn: what is to be answered.
        method: the method that prunes the visual tokens of all turns.
        length: how long the answer may be.
        on_text: called with each piece of text as soon as it is certain.
        stopped: asked after each token; True ends the answer.
        guard: looks at each picture before the LLM runs; what it saw is in the report. None for nothing.

    Raises:
        InvalidValueError: the guard cannot watch the method, the conversation is longer than the model has positions
            for, or a text holds a placeholder.
        LoadError: the chat template cannot be used, or leaves out what was said.
        TodreError: the conversation cannot be answered with this method.
    """
    began = time.perf_counter()
    inputs = _inputs(loaded, earlier, turn)
    most = _most_new(loaded, int(inputs[IDS].shape[1]), length.max_new_tokens)
    text, times = TextSoFar(loaded.processor.tokenizer), [0.0]

    def on_token(token: int) -> None:
        times[0] = times[0] or time.perf_counter() - began
        piece = text.add(token)
        if piece:
            on_text(piece)

    devices = [loaded.device] if loaded.device.type == "cuda" else []
    settings = greedy_settings(most) | watching(on_token, stopped)
    with torch.random.fork_rng(devices), stopwatch(loaded.model) as watch, torch.inference_mode():
        torch.manual_seed(length.seed)
        with prune_reported(loaded.model, method, guard) as report:
            loaded.model.generate(**inputs, **settings)
    rest = text.rest()
    if rest:
        on_text(rest)
    full = len(text.tokens) >= most and text.tokens[-1] not in closing_tokens(loaded.model)
    return Reply(
        text=text.text,
        report=report,
        timings=watch.timings(report.select_seconds),
        first_token=times[0],
        seconds=time.perf_counter() - began,
        new_tokens=len(text.tokens),
        stopped=stopped(),
        cut=full,
        unknown=tuple(unknown_words(loaded.processor.tokenizer, turn.text, inputs[IDS])),
    )


def _inputs(loaded: Loaded, earlier: tuple[Exchange, ...], turn: Turn) -> Any:
    """The model's inputs of the whole conversation."""
    inputs, prompt = apply(loaded.processor, messages_of(earlier, turn))
    check_columns(loaded.model.config, inputs)
    for said in (*(each.turn.text for each in earlier), *(each.answer for each in earlier), turn.text):
        if said.rpartition("</think>")[2].strip() not in prompt:  # templates leave the thinking of earlier turns out
            raise LoadError(
                f"The chat template of {loaded.name} leaves out what was said earlier, so the model cannot be talked "
                "with over several turns; ask single questions, with /reset before each."
            )
    return inputs.to(loaded.device, dtype=loaded.model.dtype)


def _most_new(loaded: Loaded, prompt: int, wanted: int) -> int:
    """The longest answer that the model has positions for, at most `wanted` tokens."""
    context = context_length(loaded.model)
    if context is None:
        return wanted
    if prompt >= context:
        raise InvalidValueError(
            f"The conversation has {prompt:,} tokens before pruning, and the model has positions for {context:,}; "
            "begin anew with /reset, or take this turn's pictures off with /drop."
        )
    return min(wanted, context - prompt)
