"""A backend that asks a server in OpenAI's way, with few requests in flight.

The `openai` client waits and tries again after 408, 409, 429, 5xx, time-outs and broken connections, as long as the
server's `Retry-After` says, or twice as long each time.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from todre.batch.model_answers import failure_of
from todre.batch.records import Failure, Outcome, Record, Reply
from todre.batch.requests import Kind, reply_of, request_of
from todre.errors import InvalidValueError, MissingDependencyError, TodreError
from todre.fields import Checked, Range
from todre.fields.kinds import Count, Natural, Retain
from todre.files import printable

KEY = "OPENAI_API_KEY"
"""Environment variable that holds the key, where no other is named."""
MOST_IN_A_ROW = 8
"""Requests that may fail one after another before the run ends.

Those count that say something of the server, not of the row.
"""
MOST_TEXT = 2000
"""Longest text of a server that is kept, where it answers without JSON."""
_OF_THE_SERVER = ("APIConnectionError", "APITimeoutError", "NotFoundError")
_REFUSED = ("AuthenticationError", "PermissionDeniedError")


@dataclass(frozen=True, kw_only=True)
class Endpoint(Checked):
    """A server, and how it is asked.

    Attributes:
        folder: the folder that paths of pictures are relative to.
        url: base address, up to and with `/v1`.
        kind: how it takes a request's budget.
        model: the model to ask for; empty takes the only one that the server lists.
        retain: budget of rows that have none; None leaves it to the server.
        max_new_tokens: longest answer in tokens, where a row does not say it.
        concurrency: requests in flight.
        retries: how often a request is tried again.
        timeout: seconds to wait for an answer.
        key: environment variable that holds the API key.
    """

    folder: Path
    url: str
    kind: Kind = "todre"
    model: str = ""
    retain: Retain | None = None
    max_new_tokens: Count = 64
    concurrency: Count = 8
    retries: Natural = 8
    timeout: Annotated[float, Range(above=0)] = 600.0
    key: str = KEY

    def conditions(self) -> dict[str, Any]:
        """All that an answer depends on beside its row and the server, for JSON.

        The address is not among it: a server may come back under another. What it runs is not known here.
        """
        return {
            "answered by": f"an endpoint ({self.kind})",
            "model": self.model,
            "retain": self.retain,
            "max_new_tokens": self.max_new_tokens,
        }

    def answer(self, records: Iterable[Record]) -> Iterator[Outcome]:
        """Outcomes of the records, as they are done; `concurrency` records are read ahead.

        Raises:
            MissingDependencyError: the `openai` package is absent.
            TodreError: the server refuses the key, or cannot be reached by many requests one after another.
        """
        client, loop = self._client(), asyncio.new_event_loop()
        try:
            model = self.model or loop.run_until_complete(_only_model(client, self.url))
            yield from self._answer(client, model, iter(records), loop)
        finally:
            loop.run_until_complete(_cancelled(asyncio.all_tasks(loop)))
            loop.run_until_complete(client.close())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def _answer(
        self, client: Any, model: str, records: Iterator[Record], loop: asyncio.AbstractEventLoop
    ) -> Iterator[Outcome]:
        tasks: set[asyncio.Task[Outcome]] = set()
        failed_in_a_row = 0
        while True:
            while len(tasks) < self.concurrency and (record := next(records, None)) is not None:
                tasks.add(loop.create_task(self._ask(client, model, record)))
            if not tasks:
                return
            done, tasks = loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            for outcome in (task.result() for task in sorted(done, key=lambda task: task.exception() is not None)):
                failed = outcome.failure is not None and outcome.failure.type in _OF_THE_SERVER
                failed_in_a_row = failed_in_a_row + 1 if failed else 0
                yield outcome
            if failed_in_a_row >= max(MOST_IN_A_ROW, self.concurrency):
                raise TodreError(
                    f"{failed_in_a_row} requests to {printable(self.url)} failed one after another; see that it serves "
                    "chat completions there, and run the same command again with --retry-errors to go on."
                )

    def _client(self) -> Any:
        try:
            from openai import AsyncOpenAI
        except ImportError as error:
            raise MissingDependencyError(
                f"An endpoint is asked with the openai package, which cannot be imported ({error}); "
                "`pip install 'todre[serve]'` brings it."
            ) from error
        key = os.environ.get(self.key, "")
        if not key and self.key != KEY:
            raise InvalidValueError(f"The environment variable {self.key} is not set; set it to the endpoint's key.")
        return AsyncOpenAI(base_url=self.url, api_key=key or "none", max_retries=self.retries, timeout=self.timeout)

    async def _ask(self, client: Any, model: str, record: Record) -> Outcome:
        try:
            body = await asyncio.to_thread(
                request_of, record, self.folder, self.kind, model, self.retain, self.max_new_tokens
            )
        except Exception as error:
            return Outcome.of(record, failure_of(error))
        return Outcome.of(record, await _sent(client, body, self.key))


async def _sent(client: Any, body: dict[str, Any], key: str) -> Reply | Failure:
    """The server's answer to a request."""
    import openai

    named = {name: body.pop(name) for name in ("model", "messages")}
    try:
        raw = await client.chat.completions.with_raw_response.create(**named, extra_body=body)
        return reply_of(json.loads(raw.http_response.text), raw.headers.get("x-request-id", ""))
    except openai.APIStatusError as error:
        name = type(error).__name__
        if name in _REFUSED:
            raise TodreError(
                f"The endpoint refuses the key in {key} (HTTP {error.status_code}: {_brief(error.message)}); give "
                "another with --api-key-env."
            ) from error
        message = f"The endpoint answered HTTP {error.status_code} ({_brief(error.message)})."
        return Failure(
            type=name,
            message=message,
            status=error.status_code,
            body=_whole(error.response.text),
            request_id=error.request_id or "",
        )
    except openai.APIConnectionError as error:
        return Failure(type=type(error).__name__, message=f"The endpoint gave no answer ({_cause(error)}).")
    except (ValueError, openai.OpenAIError) as error:
        return Failure(type="BadAnswer", message=f"The endpoint's answer cannot be read ({_brief(str(error))}).")


async def _only_model(client: Any, url: str) -> str:
    """The name of the only model that the server lists."""
    import openai

    try:
        listed = [each.id for each in (await client.models.list()).data]
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
        raise TodreError(
            f"{printable(url)} does not list its models ({_cause(error)}); check the address, which "
            "ends in /v1, or name the model with -m."
        ) from error
    if len(listed) != 1:
        names = ", ".join(listed[:4]) or "none"
        raise InvalidValueError(f"{printable(url)} lists {len(listed)} models ({printable(names)}); name one with -m.")
    return str(listed[0])


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _whole(text: str) -> Any:
    """A server's answer as JSON, or as text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text[:MOST_TEXT]


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error
    return _brief(str(cause) or repr(cause))


def _brief(text: str) -> str:
    return printable(" ".join(text.split()).rstrip("."), 200)
