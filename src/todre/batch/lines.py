"""Lines of the output: outcomes as JSON, each in the shape of its row."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from todre.batch.records import Failure, Outcome, Reply
from todre.errors import InvalidValueError
from todre.files import Kind, numbered, printable
from todre.files.names import reason
from todre.files.shapes import OBJECT

OUTPUT = Kind("restore it, or give another --output", OBJECT, most=2**42, line=2**28, lenient=True)
"""Kind of file: an output that is there already."""
DIGITS = 16
_REQUEST = "batch_req_"
_START = b'{"id": "'


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a line of the output says of itself.

    Attributes:
        id: of the row.
        fingerprint: hash of the settings that it was answered with.
        digest: hash of the row's fields.
        failed: whether it has an error in place of an answer.
        visual_tokens: before and after pruning, where the line says it.
    """

    id: str
    fingerprint: str
    digest: str
    failed: bool
    visual_tokens: tuple[int, int] | None


def line_of(outcome: Outcome, fingerprint: str) -> str:
    """The line of an outcome that was found under the settings of a fingerprint."""
    made = _openai(outcome, fingerprint) if outcome.openai else _plain(outcome, fingerprint)
    return json.dumps(made, ensure_ascii=False)


def read_output(stream: BinaryIO, file: Path) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """(line number, line, its object) of each line of an output.

    For a last line that a kill cut off, the object is None. Objects may be of any size, as servers' answers are.

    Raises:
        InvalidValueError: a line is none that a batch wrote.
    """
    stream.seek(0)
    for number, line in numbered(stream, file, OUTPUT):
        whole = line.endswith(b"\n")
        try:
            values = json.loads(line) if whole else None
        except (ValueError, RecursionError) as error:
            raise OUTPUT.wrong(f"Line {number} of {printable(file)}", f"is damaged ({reason(error)})") from error
        if (whole and not isinstance(values, dict)) or (not whole and line[: len(_START)] != _START[: len(line)]):
            raise InvalidValueError(_no_line_of_ours(number, file))
        yield number, line, values


def finished(values: dict[str, Any], number: int, file: Path) -> Finished:
    """What a line says of itself.

    Raises:
        InvalidValueError: no batch wrote the line.
    """
    openai = "custom_id" in values
    mark = values.get("id" if openai else "fingerprint")
    mark = mark.removeprefix(_REQUEST) if isinstance(mark, str) else ""
    id_ = values.get("custom_id" if openai else "id")
    if len(mark) != 2 * DIGITS or not isinstance(id_, str):
        raise InvalidValueError(_no_line_of_ours(number, file))
    return Finished(
        id=id_,
        fingerprint=mark[:DIGITS],
        digest=mark[DIGITS:],
        failed=values.get("error") is not None,
        visual_tokens=_visual_tokens(values, openai),
    )


def _no_line_of_ours(number: int, file: Path) -> str:
    return f"Line {number} of {printable(file)} is none that `todre batch` wrote; give another --output."


def _plain(outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    mark = {"fingerprint": fingerprint + outcome.digest}
    if outcome.reply is None:
        failure = _failure(outcome)
        status = {} if failure.status is None else {"status": failure.status}
        return {"id": outcome.id, "error": {"type": failure.type, "message": failure.message, **status}, **mark}
    reply = outcome.reply
    return {
        "id": outcome.id,
        "answer": reply.text,
        "ended": reply.ended,
        "model": reply.model,
        "prompt_tokens": reply.prompt_tokens,
        "new_tokens": reply.new_tokens,
        **_seen(reply),
        **mark,
    }


def _openai(outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    mark = fingerprint + outcome.digest
    line: dict[str, Any] = {"id": _REQUEST + mark, "custom_id": outcome.id, "response": None, "error": None}
    if outcome.reply is not None:
        body = outcome.reply.body or _completion(outcome.reply, mark)
        return line | {"response": _response(200, outcome.reply.request_id or f"req_{mark}", body)}
    failure = _failure(outcome)
    if failure.status is not None:
        line["response"] = _response(failure.status, failure.request_id, failure.body)
    return line | {"error": {"code": failure.type, "message": failure.message}}


def _response(status: int, request_id: str, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": request_id, "body": body}


def _completion(reply: Reply, mark: str) -> dict[str, Any]:
    """A chat completion as a server sends it, with the visual tokens under `todre`."""
    prompt, new = reply.prompt_tokens or 0, reply.new_tokens or 0
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text, "refusal": None},
        "logprobs": None,
        "finish_reason": reply.ended,
    }
    return {
        "id": f"chatcmpl-{mark}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply.model,
        "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new},
        "todre": _seen(reply),
    }


def _seen(reply: Reply) -> dict[str, Any]:
    """What is said of the row's visual tokens."""
    pair = None if reply.visual_tokens is None else dict(zip(("before", "after"), reply.visual_tokens, strict=True))
    return (
        {"visual_tokens": pair}
        | ({} if reply.guarded is None else {"guarded": list(reply.guarded)})
        | ({"unknown_words": list(reply.unknown_words)} if reply.unknown_words else {})
    )


def _failure(outcome: Outcome) -> Failure:
    return outcome.failure or Failure(type="NoAnswer", message="Nothing was answered; run it again.")


def _visual_tokens(values: dict[str, Any], openai: bool) -> tuple[int, int] | None:
    """The counts that a line holds; None where there are none."""
    found: Any = values
    for name in ("response", "body", "todre") if openai else ():
        found = found.get(name) if isinstance(found, dict) else None
    return pair_of(found)


def pair_of(values: Any) -> tuple[int, int] | None:
    """The visual tokens before and after pruning that an object holds, or None."""
    found = values.get("visual_tokens") if isinstance(values, dict) else None
    before, after = (found.get("before"), found.get("after")) if isinstance(found, dict) else (None, None)
    return (before, after) if isinstance(before, int) and isinstance(after, int) else None
