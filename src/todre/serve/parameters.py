"""Parameters of a request: honoured, or refused; none is dropped without a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.fields.words import short_repr
from todre.serve.refusals import RefusedError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "store": (False,),
}
"""Parameters, and the values of them that change nothing.

Every other value is refused.
"""

LABELS = ("user", "safety_identifier")
"""Parameters that say who asks, and change no answer anywhere."""

OTHERS = (
    *("audio", "metadata", "parallel_tool_calls", "prediction", "reasoning_effort", "service_tier", "verbosity"),
    *("web_search_options", "prompt_cache_key", "best_of", "echo", "suffix"),
)
"""Parameters of OpenAI's that this server does not have."""

_MOST_STOPS, _LONGEST_STOP = 16, 200
_MOST_SEED = 2**63 - 1
_LEAST_TEMPERATURE = 1e-4
"""Below it, logits over the temperature may leave the range of half precision."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 for greedy decoding.
        top_p: share of the probability that the tokens to choose from make up.
        seed: of torch's random numbers; None for a new one each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


def check_neutral(body: dict[str, Any]) -> None:
    """Raise if a parameter that this server does not have would change anything."""
    for name, allowed in NEUTRAL.items():
        value = body.get(name)
        if value is None or any(
            value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed
        ):
            continue
        raise RefusedError(
            f"{name} is {short_repr(value)}, and this server knows {name} only as {short_repr(allowed[0])}; leave it "
            "out.",
            param=name,
        )
    for name in OTHERS:
        if body.get(name) is not None:
            raise RefusedError(f"This server does not have the parameter {name}; leave it out.", param=name)


def parse_sampling(body: dict[str, Any]) -> Sampling:
    """The request's temperature, top_p and seed.

    Without a temperature decoding is greedy, whatever the checkpoint's own settings are.
    """
    temperature = number(body, "temperature", 0.0, 2.0)
    if temperature and temperature < _LEAST_TEMPERATURE:
        raise RefusedError(
            f"temperature is {temperature:g}, by which logits cannot be divided; give 0 for greedy decoding, or at "
            f"least {_LEAST_TEMPERATURE:g}.",
            param="temperature",
        )
    top_p = number(body, "top_p", 0.0, 1.0)
    if top_p == 0.0:
        raise RefusedError("top_p is 0, which leaves no token to choose; give a number above 0.", param="top_p")
    if temperature is None and top_p not in (None, 1.0):
        raise RefusedError(
            f"top_p is {top_p:g} without a temperature, and answers are greedy then; give a temperature too.",
            param="top_p",
        )
    seed = body.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED):
        raise RefusedError(
            f"seed is {short_repr(seed)}, and needs a whole number from 0 to {_MOST_SEED}.", param="seed"
        )
    return Sampling(temperature=temperature or 0.0, top_p=1.0 if top_p is None else top_p, seed=seed)


def parse_length(body: dict[str, Any], most: int) -> int | None:
    """The longest answer that the request asks for, in tokens.

    None leaves it to the server.
    """
    found = {name: body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None}
    if len(set(map(repr, found.values()))) > 1:
        raise RefusedError(
            f"max_tokens is {short_repr(found['max_tokens'])} and max_completion_tokens "
            f"{short_repr(found['max_completion_tokens'])}; give one of them.",
            param="max_tokens",
        )
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RefusedError(f"{name} is {short_repr(value)}, and needs a whole number of at least 1.", param=name)
        if value > most:
            raise RefusedError(
                f"{name} is {short_repr(value)}, and this server gives answers of at most {most} tokens; ask for "
                "fewer.",
                param=name,
            )
        return value
    return None


def parse_stop(value: Any) -> tuple[str, ...]:
    """The texts that end an answer, which is cut before them."""
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    valid = isinstance(texts, list) and all(isinstance(each, str) and each for each in texts)
    if not valid or len(texts) > _MOST_STOPS or any(len(each) > _LONGEST_STOP for each in texts):
        raise RefusedError(
            f"stop is {short_repr(value)}, and needs a text, or a list of at most {_MOST_STOPS} texts, none empty or "
            f"longer than {_LONGEST_STOP} characters.",
            param="stop",
        )
    return tuple(texts)


def flag(body: dict[str, Any], name: str) -> bool:
    """A parameter that is true or false; false without it."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RefusedError(f"{name} is {short_repr(value)}, and needs true or false.", param=name)
    return bool(value)


def number(body: dict[str, Any], name: str, least: float, most: float) -> float | None:
    """A parameter that is a number within bounds; None without it."""
    value = body.get(name)
    if value is None:
        return None
    valid = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    if not valid:
        raise RefusedError(f"{name} is {short_repr(value)}, and needs a number from {least:g} to {most:g}.", param=name)
    return float(value)
