"""Who may ask at all: checks of a request's headers, before anything else is read."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from todre.files import printable
from todre.serve.refusals import RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_OWN_NAMES = ("localhost",)


class Gate:
    """An ASGI middleware that refuses requests by their headers.

    Pages of a browser cannot reach a server on the loopback interface through a name of their own (DNS rebinding),
    because such a server answers to names of the loopback interface alone.

    Args:
        app: the application behind the gate.
        host: where the server listens.
        api_key: what clients must send as a bearer token for `/v1/…`; None asks for nothing.
        refused: called with the status of each refusal.
    """

    def __init__(self, app: App, host: str, api_key: str | None, refused: Callable[[int], None]) -> None:
        self._app, self._api_key, self._refused = app, api_key, refused
        self._loopback = is_loopback(host)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            self._check_host(headers.get(b"host", b"").decode("latin-1"))
            self._check_key(scope["path"], headers.get(b"authorization", b""))
        except RefusedError as error:
            self._refused(error.status)
            await _reply(send, error)
            return
        await self._app(scope, receive, send)

    def _check_host(self, host: str) -> None:
        if not self._loopback:
            return
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name and not is_loopback(name.strip("[]")):
            raise RefusedError(
                f"The host {printable(host, 60)!r} is not this server, which listens on the loopback interface alone; "
                "ask by 127.0.0.1.",
                status=421,
            )

    def _check_key(self, path: str, authorization: bytes) -> None:
        if self._api_key is None or not path.startswith("/v1/"):
            return
        kind, _, key = authorization.partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(key.strip(), self._api_key.encode()):
            raise RefusedError(
                "The API key is missing or wrong; send the server's key as a bearer token.",
                status=401,
                code="invalid_api_key",
            )


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of the loopback interface."""
    if host.lower() in _OWN_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _reply(send: Send, error: RefusedError) -> None:
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
