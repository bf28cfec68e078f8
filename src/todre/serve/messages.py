"""Messages of a request: texts and links of pictures, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.fields.words import short_repr
from todre.files import printable
from todre.inputs.data_urls import is_data_url
from todre.serve.limits import Limits
from todre.serve.refusals import RefusedError, check_known

_ROLES = ("system", "user", "assistant")
_MOST_PARTS = 10_000
_OTHER_ROLES = {
    "developer": "write 'system'",
    "tool": "tools are not supported",
    "function": "functions are not supported",
}
_OTHER_PARTS = {
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "clips",
    "video": "clips",
    "file": "files",
    "refusal": "refusals",
}


@dataclass(frozen=True, kw_only=True)
class PictureLink:
    """A picture of a message, not read yet.

    Attributes:
        url: a `data:` URL, or an http or https address.
        param: the field of the request that holds it, for errors.
    """

    url: str
    param: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of the conversation.

    Attributes:
        role: system, user or assistant.
        parts: texts and pictures in the client's order.
    """

    role: str
    parts: tuple[str | PictureLink, ...]


def parse_messages(values: Any, limits: Limits) -> tuple[Message, ...]:
    """The messages of a request.

    Args:
        values: the field `messages`.
        limits: what the server takes.

    Raises:
        RefusedError: a message cannot be answered as it stands.
    """
    if not isinstance(values, list) or not values:
        raise RefusedError(
            f"messages is {short_repr(values)}, and needs a list with at least one message; ask something.",
            param="messages",
        )
    _check_parts(values)
    allow_http = limits.http_pictures is not None
    messages = tuple(_message(each, f"messages[{number}]", allow_http) for number, each in enumerate(values))
    if messages[-1].role != "user":
        raise RefusedError(
            f"The last message is of the role {messages[-1].role!r}, and the model answers a user's; put a question "
            "after it.",
            param="messages",
        )
    if not any(isinstance(part, PictureLink) or part.strip() for part in messages[-1].parts):
        raise RefusedError("The last message is empty; ask something.", param="messages")
    pictures = sum(isinstance(part, PictureLink) for message in messages for part in message.parts)
    if pictures > limits.max_pictures:
        raise RefusedError(
            f"The request has {pictures} pictures, and at most {limits.max_pictures} are taken; send fewer.",
            param="messages",
        )
    text = sum(len(part) for message in messages for part in message.parts if isinstance(part, str))
    if text > limits.max_text:
        raise RefusedError(
            f"The messages have {text:,} characters of text, and at most {limits.max_text:,} are taken; send less.",
            param="messages",
        )
    return messages


def _check_parts(values: list[Any]) -> None:
    """Raise if reading all messages and parts would keep others waiting."""
    contents = (each.get("content") for each in values if isinstance(each, dict))
    parts = len(values) + sum(len(each) for each in contents if isinstance(each, list))
    if parts > _MOST_PARTS:
        raise RefusedError(
            f"The request has {parts:,} messages and parts of messages, and at most {_MOST_PARTS:,} are taken; send "
            "fewer.",
            param="messages",
        )


def _message(values: Any, param: str, allow_http: bool) -> Message:
    if not isinstance(values, dict):
        raise RefusedError(f"{param} is {short_repr(values)}, and needs an object with role and content.", param=param)
    role = values.get("role")
    if role not in _ROLES:
        known = role if isinstance(role, str) else ""
        remedy = _OTHER_ROLES.get(known, f"the roles are {', '.join(_ROLES)}")
        raise RefusedError(f"{param} has the role {short_repr(role)}; {remedy}.", param=f"{param}.role")
    if values.get("tool_calls") or values.get("function_call"):
        raise RefusedError(f"{param} has tool calls, and tools are not supported; leave them out.", param=param)
    check_known(param, {key: each for key, each in values.items() if each != []}, ("role", "content"), param)
    content = values.get("content")
    if isinstance(content, str):
        return Message(role=role, parts=(content,))
    if not isinstance(content, list) or not content:
        raise RefusedError(
            f"{param}.content is {short_repr(content)}, and needs a text or a list of texts and pictures.",
            param=f"{param}.content",
        )
    parts = tuple(_part(each, f"{param}.content[{number}]", allow_http) for number, each in enumerate(content))
    if role != "user" and any(isinstance(part, PictureLink) for part in parts):
        raise RefusedError(f"{param} is of the role {role!r} and has a picture; put it into a user's.", param=param)
    return Message(role=role, parts=parts)


def _part(values: Any, param: str, allow_http: bool) -> str | PictureLink:
    kind = values.get("type") if isinstance(values, dict) else None
    if kind == "text" and isinstance(values.get("text"), str):
        check_known(param, values, ("type", "text"), param)
        return str(values["text"])
    if kind == "image_url":
        check_known(param, values, ("type", "image_url"), param)
        return _link(values.get("image_url"), f"{param}.image_url", allow_http)
    if isinstance(kind, str) and kind in _OTHER_PARTS:
        raise RefusedError(
            f"{param} is of the type {kind!r}, and this server takes no {_OTHER_PARTS[kind]}; send texts and pictures.",
            param=param,
        )
    raise RefusedError(
        f"{param} is {short_repr(values)}, and needs the shape of a text or of an image_url.", param=param
    )


def _link(values: Any, param: str, allow_http: bool) -> PictureLink:
    """The link of a picture.

    Nothing but data: URLs and web addresses ever reaches a reader.
    """
    if isinstance(values, str):
        values = {"url": values}
    if not isinstance(values, dict) or not isinstance(values.get("url"), str):
        raise RefusedError(f"{param} is {short_repr(values)}, and needs an object with a url.", param=param)
    check_known(param, values, ("url", "detail"), param)
    if values.get("detail") not in (None, "auto"):
        raise RefusedError(
            f"{param}.detail is {short_repr(values['detail'])}, and the model alone says how large pictures are read; "
            "leave it out, or set how many tokens are kept by the field todre.",
            param=f"{param}.detail",
        )
    url = values["url"].strip()
    if is_data_url(url):
        return PictureLink(url=url, param=param)
    scheme = url.partition(":")[0].lower() if ":" in url else ""
    if scheme not in ("http", "https"):
        raise RefusedError(
            f"The picture {printable(url, 80)!r} is no data: URL, and files of the server's machine are not read; send "
            "'data:image/png;base64,' and the file's bytes in base64.",
            param=param,
        )
    if not allow_http:
        raise RefusedError(
            "Pictures at web addresses are not fetched by this server (it was started without "
            "--allow-http-pictures); send a data: URL.",
            param=param,
        )
    return PictureLink(url=url, param=param)
