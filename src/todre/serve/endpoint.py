"""Chat completions over HTTP.

A request is read, waits for its turn, and is answered whole or piece by piece.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from todre.errors import TodreError
from todre.files.names import reason
from todre.methods.shared.seeds import with_seed
from todre.serve.answering import Outcome, Task
from todre.serve.engine import Engine, Job, ran_out_of_memory
from todre.serve.limits import Limits
from todre.serve.method_choice import MethodChoice
from todre.serve.metrics import Metrics
from todre.serve.pictures import Fetched, fetch_all, read_turns
from todre.serve.refusals import RefusedError
from todre.serve.replies import DONE, Reply, event
from todre.serve.requests import ChatRequest, parse_request
from todre.serve.visit import Room, Share, Visit

_LOG = logging.getLogger(__name__)
_FETCHERS = 16
"""Most requests whose pictures are fetched at the same time."""
_SLOWEST = 120.0
"""Seconds that a client may take to send its request."""
_READ_AWAY = 4
"""How many times the largest request is read at most."""
_UNBUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""Headers that keep proxies from collecting the pieces of a stream."""
_LEFT = 499
"""The status under which requests are counted whose client went away."""


class ChatEndpoint:
    """`POST /v1/chat/completions`.

    Args:
        engine: the model and its line.
        name: the name under which the model is served.
        methods: methods that requests can ask for.
        limits: what the server takes.
    """

    def __init__(self, engine: Engine, name: str, methods: MethodChoice, limits: Limits) -> None:
        self._engine, self._name, self._methods, self._limits = engine, name, methods, limits
        self._admitted = 0
        self._prepared = asyncio.Semaphore(limits.prepared)
        self._room = Room(limits.max_held, limits.max_body)
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parse")  # one, as each needs copies of its body
        self._decoders = ThreadPoolExecutor(limits.prepared, thread_name_prefix="decode")
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self.metrics = Metrics(lambda: engine.running, lambda: self._admitted)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        visit = Visit(time.monotonic(), self._room, self._count, self.metrics.ended)
        try:
            if self._admitted > self._limits.max_waiting:
                raise RefusedError(
                    f"{self._admitted} requests are here already, and at most {self._limits.max_waiting} may wait; "
                    "try again later.",
                    status=503,
                    code="overloaded",
                )
            visit.enter()
            chat = await self._read(request, visit)
            return await _unless_gone(request, self._answer(chat, visit))
        except BaseException as error:
            if not isinstance(error, Exception):  # the server ends
                visit.leave(_LEFT)
                raise
            refused = _refused(error)
            visit.leave(refused.status)
            headers = {"retry-after": "1"} if refused.status == 503 else None
            return JSONResponse(refused.body(), status_code=refused.status, headers=headers)

    async def _read(self, request: Request, visit: Visit) -> ChatRequest:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a browser sends other kinds from any page without asking
            raise RefusedError(
                f"The content type is {kind[:60]!r}, and this server reads application/json; set the header.",
                status=415,
            )
        try:
            async with asyncio.timeout(_SLOWEST):
                data = await _body(request, self._limits.max_body, visit.share)
        except TimeoutError:
            raise RefusedError(
                f"The request did not arrive within {_SLOWEST:g} seconds; send fewer or smaller pictures.", status=408
            ) from None
        return await visit.work(self._parser, partial(parse_request, data, self._name, self._limits))

    async def _answer(self, chat: ChatRequest, visit: Visit) -> Response:
        method = self._methods.of(chat.pruning)
        if chat.sampling.seed is not None:
            method = with_seed(method, chat.sampling.seed)
        guard = self._methods.guard_of(chat.pruning, method)
        fetched = await self._fetch(chat, visit)
        await visit.prepare(self._prepared)
        read = partial(read_turns, chat.messages, fetched, self._limits.max_pixels)
        task = Task(
            turns=await visit.work(self._decoders, read),
            method=method,
            sampling=chat.sampling,
            max_new_tokens=chat.max_new_tokens,
            most_new_tokens=self._limits.max_new_tokens,
            stop=chat.stop,
            seed=self._methods.seed,
            guard=guard,
        )
        visit.job = self._engine.start(task, chat.stream, visit.answered)
        del task, read, fetched  # what the job holds ends with it
        first = await visit.job.next_event()
        reply = Reply(id=f"chatcmpl-{uuid.uuid4().hex}", model=self._name, created=int(time.time()))
        if isinstance(first, Outcome):
            self.metrics.answered(first, visit.arrived)
        if not chat.stream:
            assert isinstance(first, Outcome)
            visit.leave(200)
            return JSONResponse(reply.completion(first))
        return _Stream(self._pieces(reply, first, visit.job, chat.usage, visit), visit)

    async def _fetch(self, chat: ChatRequest, visit: Visit) -> Fetched:
        """Files of pictures at web addresses.

        Threads of their own fetch them, as hosts can be slow.
        """
        rules = self._limits.http_pictures
        if rules is None:
            return {}
        return await visit.work(self._fetchers, partial(fetch_all, chat.messages, rules, visit.share.take))

    async def _pieces(
        self, reply: Reply, found: str | Outcome, job: Job, usage: bool, visit: Visit
    ) -> AsyncIterator[str]:
        """The events of a streamed answer, of which the first is there already."""
        yield reply.first()
        try:
            while isinstance(found, str):
                yield reply.piece(found)
                found = await job.next_event()
                if isinstance(found, Outcome):
                    self.metrics.answered(found, visit.arrived)
        except Exception as error:
            refused = _refused(error)
            visit.leave(refused.status)
            yield event(refused.body())
            return
        yield reply.last(found)
        if usage:
            yield reply.usage(found)
        visit.leave(200)
        yield DONE

    def _count(self, change: int) -> None:
        """Count a request that has entered (1) or left (-1)."""
        self._admitted += change


class _Stream(StreamingResponse):
    """A streamed reply; if the client goes away, its answer is given up."""

    def __init__(self, pieces: AsyncIterator[str], visit: Visit) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers=_UNBUFFERED)
        self._visit = visit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._visit.leave(_LEFT)


async def _body(request: Request, most: int, share: Share) -> bytes:
    """The body, of which no more than `most` bytes are kept.

    The rest of one that is refused is read and thrown away, as many clients read no reply while they send.
    """
    too_large = RefusedError(f"The request is larger than {most:,} bytes; send fewer or smaller pictures.", status=413)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most * _READ_AWAY:
        raise too_large
    pieces: list[bytes] = []
    size, refused = 0, None
    async for piece in request.stream():
        size += len(piece)
        try:
            if refused is None:
                share.take(len(piece))
                pieces.append(piece)
        except RefusedError as error:
            refused = too_large if size > most else error
            pieces.clear()
            share.give_back()
        if size > most * _READ_AWAY:
            break
    if refused is not None:
        raise refused
    return b"".join(pieces)


async def _unless_gone(request: Request, work: Awaitable[Response]) -> Response:
    """The response that `work` makes, unless the client goes away before."""
    answer = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait((answer, watch), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for each in (answer, watch):
            each.cancel()
        await asyncio.wait((answer, watch))


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return once the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _refused(error: Exception) -> RefusedError:
    """The refusal that tells a client of an error; what nobody foresaw is also logged."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ClientDisconnect):
        return RefusedError("The client went away.", status=_LEFT)
    if isinstance(error, TodreError):
        return RefusedError(str(error))
    if ran_out_of_memory(error):
        return RefusedError(
            "There is not enough memory for this request; send fewer or smaller pictures, or keep fewer tokens.",
            status=503,
            code="out_of_memory",
        )
    _LOG.error("A request ended with an error that nobody foresaw.", exc_info=error)
    return RefusedError(f"Unexpected {type(error).__name__} ({reason(error)}); the server's log says more.", status=500)
