"""Subjects: a `generate` of exact length, by untouched or pruned model, or oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from todre.bench.prompts import Prompt
from todre.hf.calls import cache_of
from todre.hf.greedy_decoding import greedy_settings
from todre.methods.base import Method
from todre.pruning import attach, detach
from todre.report import PruningReport

Clock = Callable[[], float]
"""Clock in milliseconds."""


@dataclass(frozen=True)
class Called:
    """Results of a call: the cache, and times of the selection.

    Attributes:
        cache: the KV cache at the end of the call.
        select: milliseconds of the selection before the LLM.
        nested: the part of `select` that falls within the model's first forward, in milliseconds.
        report: the pruned prefill's report; None where nothing was attached.
    """

    cache: Any
    select: float = 0.0
    nested: float = 0.0
    report: PruningReport | None = None


Call = Callable[[int, Clock], Called]
"""Function of (new tokens, clock) that times its own stages with the clock."""


class Subject(Protocol):
    """A subject of a run: something to measure."""

    @property
    def name(self) -> str:
        """The subject's name, unique in a run."""

    @property
    def prompt(self) -> Prompt:
        """The prompt that the subject answers."""

    @property
    def method(self) -> Method | None:
        """The method that prunes; None for the untouched model."""

    @property
    def of(self) -> str | None:
        """Name of the subject that this one is the oracle of; None for all others."""

    @property
    def how(self) -> str:
        """One sentence on what the subject does, where the name does not say it."""

    def ready(self) -> AbstractContextManager[Call]:
        """Context that gives the call; unmeasured work is done on entering and leaving."""


@dataclass(frozen=True)
class Untouched:
    """The untouched model."""

    model: Any
    prompt: Prompt
    name: str = "none"
    method: Method | None = None
    of: str | None = None
    how: str = "the untouched model"

    def ready(self) -> AbstractContextManager[Call]:
        """Context that gives the call; there is nothing to prepare."""
        return nullcontext(lambda new_tokens, clock: Called(generate(self.model, new_tokens, **self.prompt.inputs)))


@dataclass(frozen=True)
class Pruned:
    """The model with a method attached; attaching is not part of the call."""

    model: Any
    prompt: Prompt
    name: str
    method: Method
    of: str | None = None
    how: str = "the model with the method attached"

    @contextmanager
    def ready(self) -> Iterator[Call]:
        """The call, with the method attached inside the block."""
        report = attach(self.model, self.method)

        def call(new_tokens: int, clock: Clock) -> Called:
            cache = generate(self.model, new_tokens, **self.prompt.inputs)
            select = 1000 * report.select_seconds
            return Called(cache, select, select, report)

        try:
            yield call
        finally:
            detach(self.model)


@dataclass(frozen=True)
class Resized:
    """The untouched model on a picture that was resized before the processor.

    Attributes:
        model: the model.
        prompt: the prompt with the smaller picture.
        name: as for `Subject`.
        method: the method that chose the picture's size.
    """

    model: Any
    prompt: Prompt
    name: str
    method: Method
    of: str | None = None
    how: str = "the untouched model on a picture resized before the processor"

    def ready(self) -> AbstractContextManager[Call]:
        """Context that gives the call; the picture was resized before."""
        return Untouched(self.model, self.prompt).ready()


def attach_ms(model: Any, method: Method) -> float:
    """Milliseconds of attaching and detaching together."""
    started = time.perf_counter()
    attach(model, method)
    detach(model)
    return 1000 * (time.perf_counter() - started)


@torch.inference_mode()
def generate(model: Any, new_tokens: int, **inputs: Any) -> Any:
    """KV cache after a greedy answer of `new_tokens` tokens.

    Inside `exact_length` no token ends the answer early.
    """
    return cache_of(model.generate(**inputs, **greedy_settings(new_tokens), return_dict_in_generate=True))


@contextmanager
def exact_length(model: Any) -> Iterator[None]:
    """Make `generate` greedy, with no end token, inside the block.

    After the block, the model has its own settings again.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0)
    try:
        yield
    finally:
        model.generation_config = own
