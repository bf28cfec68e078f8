"""What a record asks: messages with pictures, and settings of its own.

A field that is not known is an error of the row, so that nothing is dropped without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from todre.batch.pictures import PictureSource
from todre.batch.records import Record
from todre.errors import InvalidValueError
from todre.fields import fitted
from todre.fields.kinds import Count, Retain, Seed
from todre.files import printable

URL = "/v1/chat/completions"
"""The only request of OpenAI's batch API that is answered."""
_PLAIN = ("id", "image", "images", "question", "retain", "max_new_tokens")
_REQUEST = ("custom_id", "method", "url", "body")
_LENGTHS = ("max_completion_tokens", "max_tokens")
_ONLY: dict[str, Any] = {
    **{"temperature": 0, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0},
    **{"n": 1, "stream": False, "logprobs": False, "store": False},
}
"""Settings that are taken with the one value that says what happens anyway."""
_LABELS = ("user", "safety_identifier")
"""Settings that say who asks, and change no answer anywhere."""
_BODY = ("model", "messages", *_LENGTHS, "seed", "todre", *_ONLY, *_LABELS)
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """A picture's place in a message."""

    picture: PictureSource


Content = str | tuple[str | ImagePart, ...]
"""A text alone, or texts and pictures in order."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A turn of the conversation: who speaks, and what."""

    role: str
    content: Content

    @property
    def parts(self) -> tuple[str | ImagePart, ...]:
        """The content as a tuple, of one part for a text alone."""
        return (self.content,) if isinstance(self.content, str) else self.content


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a record asks.

    Attributes:
        messages: the conversation, which the answer continues.
        retain: the row's own budget; None for the run's.
        max_new_tokens: the row's own longest answer; None for the run's.
        seed: the row's own seed; None for the run's.
        model: the model that the row names, or empty.
    """

    messages: tuple[Message, ...]
    retain: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    model: str = ""


def row_of(record: Record) -> Row:
    """What a record asks, of a model in memory.

    Raises:
        InvalidValueError: a field is unknown, missing, or has a value that cannot be used.
    """
    return _request(body_of(record)) if record.openai else _plain(record.values)


def body_of(record: Record) -> dict[str, Any]:
    """The body of a request of OpenAI's batch API; what is in it is not looked at.

    Raises:
        InvalidValueError: the request is not one for chat completions, or has fields besides.
    """
    values = record.values
    _check_names(values, _REQUEST, "The row")
    for name, only in (("method", "POST"), ("url", URL)):
        if values.get(name, only) != only:
            raise InvalidValueError(f"The row has {_held(values, name)}, and {only!r} alone is answered; write that.")
    body = values.get("body")
    if not isinstance(body, dict):
        raise InvalidValueError(f"The row has {_held(values, 'body')}, and needs an object there; put messages in it.")
    return body


def parts_of(messages: Any) -> Iterator[dict[str, Any]]:
    """The parts of a request's messages that are objects, whatever they are."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in content or () if isinstance(part, dict)) if isinstance(content, list) else ()


def retain_of(values: Any) -> float | None:
    """The budget in a request's field `todre`.

    Raises:
        InvalidValueError: the field holds anything but a budget under `retain`.
    """
    if values is None:
        return None
    if not isinstance(values, dict):
        raise InvalidValueError(f'The body has todre {_short(values)}; write {{"retain": 0.1}} there.')
    _check_names(values, ("retain",), "The body's todre")
    return _retain(values, "todre.retain")


def _plain(values: dict[str, Any]) -> Row:
    _check_names(values, _PLAIN, "The row")
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise InvalidValueError(f"The row has {_held(values, 'question')}, and needs a text there; ask something.")
    parts = tuple(ImagePart(picture=picture) for picture in _pictures(values))
    return Row(
        messages=(Message(role="user", content=(*parts, question)),),
        retain=_retain(values, "retain"),
        max_new_tokens=_fitted("max_new_tokens", values.get("max_new_tokens"), Count),
    )


def _pictures(values: dict[str, Any]) -> list[PictureSource]:
    """The pictures under `image` or `images`."""
    single, several = values.get("image"), values.get("images")
    if single is not None and several is not None:
        raise InvalidValueError("The row has image and images; write one of the two.")
    if isinstance(several, list) and several:
        return [_picture(each, f"images[{place}]") for place, each in enumerate(several)]
    if several is not None:
        raise InvalidValueError(f"The row has images {_short(several)}, and needs a list of paths there; write one.")
    if single is None:
        raise InvalidValueError("The row has no image; give the path of a picture, or a data: URL.")
    return [_picture(single, "image")]


def _picture(value: Any, name: str) -> PictureSource:
    """A path, a `data:` URL, bytes, or bytes with a path as data sets hold them."""
    if isinstance(value, dict) and set(value) <= {"bytes", "path"}:
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str | bytes) and value:
        return value
    raise InvalidValueError(f"The row has {name} {_short(value)}, and needs a path or a data: URL there; give one.")


def _request(values: dict[str, Any]) -> Row:
    body = {name: value for name, value in values.items() if value is not None}
    _check_names(body, _BODY, "The body")
    for name in (name for name in _ONLY if name in body):
        value, only = body[name], _ONLY[name]
        if value != only or isinstance(value, bool) != isinstance(only, bool):
            raise InvalidValueError(
                f"The body has {_held(body, name)}, and each row has one whole, greedy answer; write {_json(only)}, or "
                "leave it out."
            )
    lengths = [_fitted(name, body.get(name), Count) for name in _LENGTHS]
    if None not in lengths and lengths[0] != lengths[1]:
        raise InvalidValueError(
            f"The body has max_tokens {lengths[1]} and max_completion_tokens {lengths[0]}; write one of the two."
        )
    model = body.get("model")
    if not isinstance(model, str | None):
        raise InvalidValueError(f"The body has {_held(body, 'model')}, and needs a text there; name the model.")
    return Row(
        messages=_messages(body.get("messages")),
        retain=retain_of(body.get("todre")),
        max_new_tokens=next((length for length in lengths if length is not None), None),
        seed=_fitted("seed", body.get("seed"), Seed),
        model=model or "",
    )


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        raise InvalidValueError(f"The body has messages {_short(value)}, and needs a list of messages; write one.")
    found = tuple(_message(each, f"messages[{place}]") for place, each in enumerate(value))
    if found[-1].role != "user":
        raise InvalidValueError(f"The last message is of the {found[-1].role}; end with the user's, which is answered.")
    last = found[-1].content
    if not isinstance(last, str) and not any(isinstance(part, ImagePart) or part.strip() for part in last):
        raise InvalidValueError("The last message is empty; ask something.")
    return found


def _message(value: dict[str, Any], at: str) -> Message:
    _check_names(value, ("role", "content"), at)
    role, content = value.get("role"), value.get("content")
    if role not in _ROLES:
        raise InvalidValueError(f"{at} has role {_short(role)}; use one of {', '.join(_ROLES)}.")
    if isinstance(content, str) and content.strip():
        return Message(role=role, content=content)
    if not isinstance(content, list) or not content:
        raise InvalidValueError(f"{at} has content {_short(content)}, and needs a text or a list of parts; write one.")
    parts = tuple(_part(each, f"{at}.content[{place}]") for place, each in enumerate(content))
    if role != "user" and any(isinstance(part, ImagePart) for part in parts):
        raise InvalidValueError(f"{at} is of the role {role!r} and has a picture; put it into a user's.")
    return Message(role=role, content=parts)


def _part(value: Any, at: str) -> str | ImagePart:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        _check_names(value, ("type", "text"), at)
        if isinstance(value.get("text"), str):
            return str(value["text"])
    if kind == "image_url":
        _check_names(value, ("type", "image_url"), at)
        image = value.get("image_url")
        if isinstance(image, dict):
            _check_names(image, ("url", "detail"), f"{at}.image_url")
            if image.get("detail", "auto") != "auto":
                raise InvalidValueError(
                    f"{at} has detail {_short(image['detail'])}, which no model here takes; use auto."
                )
            if isinstance(image.get("url"), str) and image["url"]:
                return ImagePart(picture=image["url"])
    raise InvalidValueError(
        f'{at} is {_short(value)}; write {{"type": "text", "text": "…"}} or '
        '{"type": "image_url", "image_url": {"url": "…"}}.'
    )


def _check_names(values: dict[str, Any], known: Collection[str], where: str) -> None:
    strange = next((name for name in values if name not in known), None)
    if strange is not None:
        raise InvalidValueError(
            f"{where} has a field {printable(repr(strange), 60)} that is not known; leave it out, or use "
            f"{', '.join(known)}."
        )


def _retain(values: dict[str, Any], name: str) -> float | None:
    """The budget under `retain`.

    Raises:
        InvalidValueError: it is no budget, or the count 1, which is hardly what is meant.
    """
    value = values.get("retain")
    if type(value) is int and value == 1:
        raise InvalidValueError(
            f"{name} is 1, a count, and would keep one visual token; write 1.0 for all of them, or a larger count."
        )
    retain: float | None = _fitted("retain", value, Retain)
    return retain


def _fitted(name: str, value: Any, kind: Any) -> Any:
    return None if value is None else fitted(name, value, kind)


def _held(values: dict[str, Any], name: str) -> str:
    return f"{name} {_short(values[name])}" if name in values else f"no {name}"


def _short(value: Any) -> str:
    return printable(repr(value), 60)


def _json(value: Any) -> str:
    return "false" if value is False else str(value)
