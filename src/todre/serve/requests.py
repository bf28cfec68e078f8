"""A request for a chat completion, read from its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.fields.words import short_repr
from todre.files import Kind, parsed_text
from todre.serve.limits import Limits
from todre.serve.messages import Message, parse_messages
from todre.serve.parameters import (
    LABELS,
    NEUTRAL,
    OTHERS,
    Sampling,
    check_neutral,
    flag,
    parse_length,
    parse_sampling,
    parse_stop,
)
from todre.serve.refusals import RefusedError, check_known

_TAKEN = (
    *("model", "messages", "stream", "stream_options", "temperature", "top_p", "seed", "stop", "max_tokens"),
    *("max_completion_tokens", "todre"),
)


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """What a client asks.

    Attributes:
        messages: the conversation; the last message is the user's.
        sampling: how the next token is chosen.
        max_new_tokens: longest answer, in tokens; None leaves it to the server.
        stop: texts before which the answer ends.
        stream: whether the answer is sent piece by piece.
        usage: whether a streamed answer ends with a chunk of token counts.
        pruning: the field `todre`; empty without it.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    max_new_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    usage: bool
    pruning: dict[str, Any]


def parse_request(data: bytes, model: str, limits: Limits) -> ChatRequest:
    """The request in a body.

    Args:
        data: the body.
        model: the name under which the model is served.
        limits: what the server takes.

    Raises:
        RefusedError: the body is no request that this server answers as it stands.
    """
    body = _json(data)
    check_known("The request", body, (*_TAKEN, *LABELS, *NEUTRAL, *OTHERS), "")
    _check_model(body.get("model"), model)
    check_neutral(body)
    stream = flag(body, "stream")
    pruning = body.get("todre")
    if pruning is not None and not isinstance(pruning, dict):
        raise RefusedError(f'todre is {short_repr(pruning)}; write {{"retain": 0.25}} there.', param="todre")
    return ChatRequest(
        messages=parse_messages(body.get("messages"), limits),
        sampling=parse_sampling(body),
        max_new_tokens=parse_length(body, limits.max_new_tokens),
        stop=parse_stop(body.get("stop")),
        stream=stream,
        usage=_usage(body.get("stream_options"), stream),
        pruning=pruning or {},
    )


def _json(data: bytes) -> dict[str, Any]:
    """The object in a body."""
    kind = Kind(hint="send a chat completion's JSON object", error=RefusedError)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise kind.wrong("The request", "is no UTF-8 text") from error
    value: dict[str, Any] = parsed_text(text, "The request", kind)
    return value


def _check_model(value: Any, name: str) -> None:
    if value is None:
        raise RefusedError(f"The request names no model; write {name!r}.", param="model")
    if value != name:
        raise RefusedError(
            f"There is no model {short_repr(value)} here; this server has {name!r} alone.",
            status=404,
            param="model",
            code="model_not_found",
        )


def _usage(value: Any, stream: bool) -> bool:
    """Whether a chunk of token counts is asked for."""
    if value is None:
        return False
    if not isinstance(value, dict):
        raise RefusedError(f"stream_options is {short_repr(value)}, and needs an object.", param="stream_options")
    if not stream:
        raise RefusedError("stream_options is for stream true; leave it out.", param="stream_options")
    check_known("stream_options", value, ("include_usage", "include_obfuscation"), "stream_options")
    if value.get("include_obfuscation"):
        raise RefusedError("This server does not have include_obfuscation; leave it out.", param="stream_options")
    return flag(value, "include_usage")
