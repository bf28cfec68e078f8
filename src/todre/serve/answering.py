"""One answer, from a conversation to text, on the thread that owns the model."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from todre.hf.greedy_decoding import greedy_settings, sampled_settings
from todre.hf.keywords import IDS
from todre.hf.positions_left import ContextLengthError, answer_length
from todre.hf.token_streaming import closing_tokens, watching
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.guard import Guard
from todre.processing import apply, check_columns
from todre.processing.unknown_words import unknown_words
from todre.pruning import prune_reported
from todre.serve.parameters import Sampling
from todre.serve.refusals import RefusedError
from todre.serving.kept import Kept
from todre.serving.prompt_checks import check_texts
from todre.serving.text_so_far import TextSoFar
from todre.timing import Timings, stopwatch


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A message whose pictures are read.

    Attributes:
        role: system, user or assistant.
        parts: texts and pictures in the client's order.
    """

    role: str
    parts: tuple[str | Image.Image, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be answered, and how.

    Attributes:
        turns: the conversation.
        method: the method that prunes.
        sampling: how the next token is chosen.
        max_new_tokens: longest answer, in tokens; None for `most_new_tokens`, or less where the model's context ends.
        most_new_tokens: the server's longest answer, in tokens.
        stop: texts before which the answer ends.
        seed: of torch's random numbers in greedy decoding, for methods that choose at random.
        guard: looks at each picture before the LLM runs; None for nothing.
    """

    turns: tuple[Turn, ...]
    method: Method
    sampling: Sampling
    max_new_tokens: int | None
    most_new_tokens: int
    stop: tuple[str, ...]
    seed: int
    guard: Guard | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished answer.

    Attributes:
        text: without special tokens, cut before a text of `stop`.
        ended: "stop", or "length" where the answer was cut at its longest.
        prompt_tokens: tokens of the prompt before pruning.
        new_tokens: generated tokens, the closing token included.
        kept: what was kept of the visual tokens.
        timings: where the time went.
        first_token_at: when the first token was there, by `time.monotonic`.
        unknown_words: words of the last message that the tokenizer does not know.
    """

    text: str
    ended: str
    prompt_tokens: int
    new_tokens: int
    kept: Kept
    timings: Timings
    first_token_at: float
    unknown_words: tuple[str, ...]


def answer_task(
    loaded: Loaded, task: Task, on_text: Callable[[str], None] | None, cancelled: Callable[[], bool]
) -> Outcome | None:
    """Answer a task; the model is left as it was.

    Args:
        loaded: model and processor.
        task: what to answer.
        on_text: called with each piece of text that has become certain; None for the whole at the end.
        cancelled: asked after each token; True ends the answer.

    Returns:
        The answer, or None if it was cancelled.

    Raises:
        RefusedError: the prompt does not fit the model.
        TodreError: the conversation cannot be answered, or not with this method.
    """
    inputs = _inputs(loaded, task.turns)
    length = int(inputs[IDS].shape[1])
    most = _length(loaded, task, length)
    _check_stop(loaded, task.stop)
    text, first = TextSoFar(loaded.processor.tokenizer, task.stop), [0.0]

    def on_token(token: int) -> None:
        first[0] = first[0] or time.monotonic()
        if on_text is None:
            text.take(token)
        elif piece := text.add(token):
            on_text(piece)

    settings = _decoding(task.sampling, most) | watching(on_token, lambda: text.stopped or cancelled())
    with torch.random.fork_rng(_gpus(loaded.device)), stopwatch(loaded.model) as watch, torch.inference_mode():
        torch.manual_seed(_seed(task))
        with prune_reported(loaded.model, task.method, task.guard) as report:
            loaded.model.generate(**inputs, **settings)
    if cancelled():
        return None
    rest = text.rest() if on_text is not None else ""
    if on_text is not None and rest:
        on_text(rest)
    cut = len(text.tokens) >= most and not text.stopped and text.tokens[-1] not in closing_tokens(loaded.model)
    return Outcome(
        text=text.text,
        ended="length" if cut else "stop",
        prompt_tokens=length,
        new_tokens=len(text.tokens),
        kept=Kept.of(report),
        timings=watch.timings(report.select_seconds),
        first_token_at=first[0],
        unknown_words=_unknown(loaded, task.turns[-1], inputs[IDS]),
    )


def _inputs(loaded: Loaded, turns: Sequence[Turn]) -> Any:
    """The model's inputs of a conversation.

    The steps are those of `todre.running.build_inputs`.
    """
    conversation = [{"role": turn.role, "content": [_item(part) for part in turn.parts]} for turn in turns]
    inputs, prompt = apply(loaded.processor, conversation)
    check_columns(loaded.model.config, inputs)
    texts = ((turn.role, part) for turn in turns for part in turn.parts if isinstance(part, str))
    check_texts(prompt, texts, loaded.name)
    return inputs.to(loaded.device, dtype=loaded.model.dtype)


def _item(part: str | Image.Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": part}


def _length(loaded: Loaded, task: Task, prompt: int) -> int:
    """The longest answer that the model has positions for and that was asked for."""
    try:
        return answer_length(loaded.model, prompt, task.max_new_tokens, task.most_new_tokens)
    except ContextLengthError as error:
        raise RefusedError(str(error), param="messages", code="context_length_exceeded") from error


def _check_stop(loaded: Loaded, stop: tuple[str, ...]) -> None:
    """Raise if a text of `stop` is a special token.

    None ever stands in an answer's text.
    """
    tokenizer = loaded.processor.tokenizer
    closing = {tokenizer.convert_ids_to_tokens(token) for token in closing_tokens(loaded.model)}
    special = set(tokenizer.all_special_tokens) - closing
    found = next((text for text in stop if any(token in text for token in special)), None)
    if found is not None:
        raise RefusedError(
            f"stop holds {found!r}, a special token, which an answer's text never has; leave it out.", param="stop"
        )


def _decoding(sampling: Sampling, most: int) -> dict[str, Any]:
    if sampling.temperature:
        return sampled_settings(most, sampling.temperature, sampling.top_p)
    return greedy_settings(most)


def _seed(task: Task) -> int:
    """The request's seed.

    Without one, it is a new one for sampling, and the server's for greedy decoding.
    """
    if task.sampling.seed is not None:
        return task.sampling.seed
    return secrets.randbits(63) if task.sampling.temperature else task.seed


def _unknown(loaded: Loaded, turn: Turn, ids: torch.Tensor) -> tuple[str, ...]:
    text = " ".join(part for part in turn.parts if isinstance(part, str))
    return tuple(unknown_words(loaded.processor.tokenizer, text, ids))


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
