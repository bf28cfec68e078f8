"""A backend that asks a server in OpenAI's way, with few requests in flight.

The `openai` client waits and tries again after 408, 409, 429, 5xx, time-outs and broken connections, as long as the
server's `Retry-After` says, or twice as long each time. Where that is longer than the client waits, it is waited for
here.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
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
LONGEST_WAIT = 3600.0
"""Longest `Retry-After`, in seconds, that is waited for."""
_CLIENT_WAITS = 120.0
_BUSY = (429, 503)
_OF_THE_SERVER = (
    *("APIConnectionError", "APITimeoutError", "NotFoundError"),
    *("InternalServerError", "RateLimitError", "PermissionDeniedError"),
)


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
        urls: whether pictures at web addresses are fetched here, for the server to get their bytes.
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
    urls: bool = False

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

    def with_model(self) -> Endpoint:
        """The endpoint with the only model that the server lists, where none is named.

        Raises:
            MissingDependencyError: the `openai` package is absent.
            TodreError: the server cannot be asked, or lists not just one.
        """
        if self.model:
            return self
        client = self._client()

        async def listed() -> str:
            try:
                return await _only_model(client, self.url)
            finally:
                await client.close()

        return replace(self, model=asyncio.run(listed()))

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
        last: Failure | None = None
        while True:
            while len(tasks) < self.concurrency and (record := next(records, None)) is not None:
                tasks.add(loop.create_task(self._ask(client, model, record)))
            if not tasks:
                return
            done, tasks = loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            for outcome in (task.result() for task in sorted(done, key=lambda task: task.exception() is not None)):
                failed = outcome.failure is not None and outcome.failure.type in _OF_THE_SERVER
                failed_in_a_row = failed_in_a_row + 1 if failed else 0
                last = outcome.failure or last
                yield outcome
            if last is not None and failed_in_a_row >= max(MOST_IN_A_ROW, self.concurrency):
                raise TodreError(
                    f"{failed_in_a_row} requests to {printable(self.url)} failed one after another (at last: "
                    f"{last.message.rstrip('.')}); see that it serves chat completions there, and run the same command "
                    "again with --retry-errors to go on."
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
                request_of, record, self.folder, self.kind, model, self.retain, self.max_new_tokens, self.urls
            )
            return Outcome.of(record, await self._sent(client, body))
        except _KeyRefusedError:
            raise
        except Exception as error:
            return Outcome.of(record, failure_of(error))

    async def _sent(self, client: Any, body: dict[str, Any]) -> Reply | Failure:
        """What became of a request, after the waits that the server asks for."""
        named = {name: body.pop(name) for name in ("model", "messages")}
        for _ in range(self.retries):
            done, wait = await _sent_once(client, named, body, self.key)
            if wait is None:
                return done
            await _pause(wait)
        return (await _sent_once(client, named, body, self.key))[0]


class _KeyRefusedError(TodreError):
    """The server refuses the key, so that no row can be answered."""


async def _sent_once(
    client: Any, named: dict[str, Any], more: dict[str, Any], key: str
) -> tuple[Reply | Failure, float | None]:
    """The server's answer to a request, and how long to wait before it is asked again."""
    import openai

    try:
        raw = await client.chat.completions.with_raw_response.create(**named, extra_body=more)
        return reply_of(json.loads(raw.http_response.text), raw.headers.get("x-request-id", "")), None
    except openai.AuthenticationError as error:
        raise _KeyRefusedError(
            f"The endpoint refuses the key in {key} (HTTP {error.status_code}: {_brief(error.message)}); give another "
            "with --api-key-env."
        ) from error
    except openai.APIStatusError as error:
        failure = Failure(
            type=type(error).__name__,
            message=f"The endpoint answered HTTP {error.status_code} ({_brief(error.message)}).",
            status=error.status_code,
            body=_whole(error.response.text),
            request_id=error.request_id or "",
        )
        return failure, _wait_of(error.response) if error.status_code in _BUSY else None
    except openai.APIConnectionError as error:
        return Failure(type=type(error).__name__, message=f"The endpoint gave no answer ({_cause(error)})."), None
    except (ValueError, openai.OpenAIError) as error:
        return Failure(type="BadAnswer", message=f"The endpoint's answer cannot be read ({_brief(str(error))})."), None


def _wait_of(response: Any) -> float | None:
    """Seconds that `Retry-After` asks for, where that is to be waited here.

    None if the client itself waits as long, or if nobody should.
    """
    text = response.headers.get("retry-after", "")
    try:
        seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if _CLIENT_WAITS < seconds <= LONGEST_WAIT else None


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


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
