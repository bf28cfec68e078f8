"""Requests to a server that answers in OpenAI's way, and what its answers say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

from todre.batch.lines import pair_of
from todre.batch.pictures import url_of
from todre.batch.records import Failure, Record, Reply
from todre.batch.rows import Row, body_of, parts_of, retain_of, row_of
from todre.errors import InvalidValueError

Kind = Literal["todre", "vllm", "plain"]
"""How a server takes a request's budget.

As `todre serve` does, as vLLM with todre's plugin does, or not at all.
"""
KINDS: tuple[Kind, ...] = ("todre", "vllm", "plain")


def request_of(
    record: Record, folder: Path, kind: Kind, model: str, retain: float | None, limit: int, urls: bool = False
) -> dict[str, Any]:
    """The body of the request for a record, with its pictures as `data:` URLs.

    The body of a row in OpenAI's shape goes as it is, but for the pictures and the budget; where it does not say them,
    the temperature is 0 and the length that of the run.

    Args:
        record: the row.
        folder: where paths of pictures begin.
        kind: how the server takes a budget.
        model: the model to ask for, where the row names none.
        retain: the budget, where the row has none; None leaves it to the server.
        limit: longest answer in tokens, where the row does not say it.
        urls: whether pictures at web addresses are fetched, for the server to get their bytes.

    Raises:
        InvalidValueError: the row cannot be asked.
        ImageError: a picture cannot be read.
    """
    if record.openai:
        body, own = _own_body(record, folder, kind, urls)
    else:
        row = row_of(record)
        body, own = {"messages": _messages(row, folder, urls)}, row.retain
        if row.max_new_tokens is not None:
            body["max_tokens"] = row.max_new_tokens
    body.setdefault("model", model)
    if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        body["max_tokens"] = limit
    if body.get("temperature") is None:
        body["temperature"] = 0
    _put_retain(body, kind, retain if own is None else own, own is not None)
    return body


def reply_of(body: Any, request_id: str) -> Reply | Failure:
    """What a server's answer to a request says."""
    try:
        choice, used, model = body["choices"][0], body.get("usage"), body.get("model")
        text, ended = choice["message"]["content"], choice.get("finish_reason")
        if not isinstance(text, str):
            raise TypeError
    except (AttributeError, IndexError, KeyError, TypeError):
        message = "The server's answer is no chat completion with a text; look at what it serves."
        return Failure(type="BadAnswer", message=message, status=200, body=body, request_id=request_id)
    usage = used if isinstance(used, dict) else {}
    return Reply(
        text=text.strip(),
        ended=str(ended or "stop"),
        model=str(model or ""),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        new_tokens=_count(usage.get("completion_tokens")),
        visual_tokens=pair_of(body.get("todre")),
        body=body,
        request_id=request_id,
    )


def _count(value: Any) -> int | None:
    """A count of tokens; None for anything else that a server may send."""
    return value if type(value) is int else None


def _own_body(record: Record, folder: Path, kind: Kind, urls: bool) -> tuple[dict[str, Any], float | None]:
    """A request's body, its pictures as URLs, without its budget; and the budget.

    `todre serve` itself looks at what else the field `todre` asks for, so that field stays in its body.
    """
    body = {name: value for name, value in copy.deepcopy(body_of(record)).items() if value is not None}
    if body.get("stream"):
        raise InvalidValueError("The body has stream true, and each row has one whole answer; leave it out.")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise InvalidValueError("The body has no list of messages; write one.")
    for part in parts_of(body["messages"]):
        image = part.get("image_url") if part.get("type") == "image_url" else None
        if isinstance(image, str):  # some servers take it so, and would fetch an address themselves
            image = part["image_url"] = {"url": image}
        if isinstance(image, dict) and isinstance(image.get("url"), str):
            image["url"] = url_of(image["url"], folder, urls)
    own = body.get("todre")
    if kind == "todre" and isinstance(own, dict):
        return body, own.get("retain")
    return body, retain_of(body.pop("todre", None))


def _messages(row: Row, folder: Path, urls: bool) -> list[dict[str, Any]]:
    """The messages of a plain row."""
    found: list[dict[str, Any]] = []
    for message in row.messages:
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": url_of(part.picture, folder, urls)}}
            for part in message.parts
        ]
        found.append({"role": message.role, "content": content})
    return found


def _put_retain(body: dict[str, Any], kind: Kind, retain: float | None, of_the_row: bool) -> None:
    """Write a budget into a body as the server takes it."""
    if retain is None:
        return
    if kind == "plain":
        where = "The row has" if of_the_row else "The run has"
        raise InvalidValueError(
            f"{where} retain {retain}, and a plain endpoint takes none; leave it out, or say --endpoint-kind."
        )
    if kind == "todre":
        body["todre"] = {**body.get("todre", {}), "retain": retain}
        return
    options = body.setdefault("mm_processor_kwargs", {})
    if not isinstance(options, dict):
        raise InvalidValueError("The body has mm_processor_kwargs that is no object; write an object, or leave it out.")
    options["todre_retain"] = retain
