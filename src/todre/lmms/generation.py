"""Settings by which a task's answers are generated: length, stops, sampling."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from todre.errors import InvalidValueError
from todre.hf.greedy_decoding import SAMPLING, greedy_settings

MAX_NEW_TOKENS = 1024
"""Longest answer, in tokens, for tasks that set no length."""
_SAMPLING = (*SAMPLING, "min_p", "typical_p")
_OTHERS = (
    "num_beams",
    "length_penalty",
    "early_stopping",
    "min_new_tokens",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
_LENGTH = ("max_new_tokens", "max_gen_toks")
_READ = {*_SAMPLING, *_OTHERS, *_LENGTH, "do_sample", "until"}


class IgnoredSettingWarning(UserWarning):
    """A task sets something that `generate` does not know."""


@dataclass(frozen=True)
class Decoding:
    """Settings of `generate`; prompts with equal settings can share a batch.

    Args:
        max_new_tokens: longest answer, the closing token included.
        until: an answer ends before the first of these texts.
        settings: names and values for `generate`.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    until: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = (("do_sample", False),)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Decoding:
        """The settings in a task's `generation_kwargs`.

        Where `do_sample` is not set, a temperature above 0 turns sampling on. Settings that `generate` does not know
        are left out with a warning.

        Raises:
            InvalidValueError: the length is not a whole number of at least 1, or a stop string is not text.
        """
        unknown = sorted(set(settings) - _READ)
        if unknown:
            warnings.warn(
                f"settings of generation are left out: {', '.join(unknown)}", IgnoredSettingWarning, stacklevel=2
            )
        length = next((settings[name] for name in _LENGTH if settings.get(name) is not None), MAX_NEW_TOKENS)
        if isinstance(length, bool) or length != int(length) or length < 1:
            raise InvalidValueError(f"max_new_tokens must be a whole number of at least 1, not {length!r}.")
        return cls(int(length), _stops(settings.get("until")), tuple(sorted(_settings(settings).items())))

    def arguments(self) -> dict[str, Any]:
        """Arguments for `generate`.

        Without sampling, the checkpoint's own sampling settings are set aside.
        """
        settings, greedy = dict(self.settings), greedy_settings(self.max_new_tokens)
        if settings["do_sample"]:
            greedy = {name: value for name, value in greedy.items() if name not in SAMPLING}
        return greedy | settings

    def cut(self, text: str) -> str:
        """The text up to the first stop string, without spaces around it."""
        ends = [place for stop in self.until if (place := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].strip()

    def length(self, tokenizer: Any, tokens: Sequence[int]) -> int:
        """Number of `tokens` up to and including the one that completes a stop string."""

        def stopped(count: int) -> bool:
            text = tokenizer.decode(tokens[:count], skip_special_tokens=True)
            return any(stop in text for stop in self.until)

        if not self.until or not stopped(len(tokens)):
            return len(tokens)
        return bisect_left(range(len(tokens)), True, key=stopped)


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    temperature = settings.get("temperature") or 0
    sampling = settings.get("do_sample")
    samples = (temperature > 0 if sampling is None else bool(sampling)) and settings.get("temperature") != 0
    chosen = {name: settings[name] for name in _OTHERS if settings.get(name) is not None}
    if samples:
        chosen |= {name: settings[name] for name in _SAMPLING if settings.get(name) is not None}
        if chosen.get("top_p") == 0:
            del chosen["top_p"]
    return {"do_sample": samples, **chosen}


def _stops(until: Any) -> tuple[str, ...]:
    stops = (until,) if isinstance(until, str) else tuple(until or ())
    if not all(isinstance(stop, str) for stop in stops):
        raise InvalidValueError(f"until must be a text or a list of texts, not {until!r}.")
    return tuple(stop for stop in stops if stop)


class StopStrings(StoppingCriteria):
    """Stopping criterion: a row ends once its new tokens hold a stop string.

    The prompt does not count.

    Args:
        tokenizer: the model's tokenizer.
        stops: the stop strings.
        prompt: number of columns that the prompt takes.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], prompt: int) -> None:
        self.tokenizer, self.stops, self.prompt = tokenizer, tuple(stops), prompt

    def __call__(self, ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """(b,) bool, True where a row is done."""
        texts = self.tokenizer.batch_decode(ids[:, self.prompt :], skip_special_tokens=True)
        done = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(done, device=ids.device, dtype=torch.bool)
