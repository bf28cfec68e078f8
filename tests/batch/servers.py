"""A server that answers in OpenAI's way, by a model in memory or by rote, and fails as it is told."""

import asyncio
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response


def text_of(body):
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


class FakeServer:
    """Answers `echo: TEXT`; `plan(text, times)` may return a status, "drop", "garbage" or seconds to wait instead.

    `wait` is the `Retry-After` of errors, which else ask for 20 milliseconds. The first `together` requests are
    answered when all of them are open, or after a minute.

    Attributes:
        bodies: every request's body, in order.
        times: how often each text was asked.
        most_at_once: the most requests that were open at one time.
    """

    def __init__(self, plan=lambda text, times: None, answer=None, models=("served",), wait=None, together=1):
        self.plan, self.answer, self.models, self.wait, self.together = plan, answer, models, wait, together
        self.bodies, self.keys, self.times = [], [], Counter()
        self.open = self.most_at_once = 0
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.complete)
        self.app.get("/v1/models")(self.list_models)

    async def list_models(self):
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0} for name in self.models]}

    async def complete(self, request: Request):
        body = await request.json()
        text = text_of(body)
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        self.times[text] += 1
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            await self._meet()
            return await self._respond(request, body, text)
        finally:
            self.open -= 1

    async def _meet(self):
        until = time.monotonic() + 60
        while self.most_at_once < self.together and time.monotonic() < until:
            await asyncio.sleep(0.002)

    async def _respond(self, request, body, text):
        what = self.plan(text, self.times[text])
        if what == "drop":
            request.scope["todre.transport"].close()
            return Response()
        if what == "garbage":
            return Response("<html>", media_type="application/json")
        if what == "no choices":
            return {"choices": []}
        if isinstance(what, float):
            await asyncio.sleep(what)
        elif what is not None:
            waits = {"retry-after-ms": "20"} if self.wait is None else {"retry-after": self.wait}
            headers = {**waits, "x-request-id": f"refused {text}"}
            return JSONResponse({"error": {"message": f"no: {text}", "code": what}}, what, headers)
        said, more = self.answer(body) if self.answer else (f"echo: {text}", {})
        message = {"role": "assistant", "content": said}
        completion = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, **more,
        }  # fmt: skip
        return JSONResponse(completion, headers={"x-request-id": f"request {text}"})


class _Protocol:
    """uvicorn's own protocol, which also lets the application see the connection."""

    def __new__(cls, *arguments, **options):
        from uvicorn.protocols.http.h11_impl import H11Protocol

        class Seen(H11Protocol):
            def handle_events(self):
                super().handle_events()
                if self.scope is not None:
                    self.scope["todre.transport"] = self.transport

        return Seen(*arguments, **options)


@contextmanager
def serving(server, port=0):
    """Run a server in a thread; yields its base address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(server.app, log_level="critical", http=_Protocol, lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        running.should_exit = running.force_exit = True
        thread.join()
        listener.close()
