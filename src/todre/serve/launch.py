"""Start of the server: a port, a trial of the method, then requests.

It serves until the process is told to end.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

import uvicorn
from PIL import Image
from uvicorn.config import LOGGING_CONFIG

from todre.errors import InvalidValueError
from todre.loading.model import Loaded
from todre.serve.answering import Task, Turn, answer_task
from todre.serve.gate import App
from todre.serve.method_choice import MethodChoice
from todre.serve.parameters import Sampling

_BACKLOG = 2048
_LOGGING = {
    **LOGGING_CONFIG,
    "handlers": {
        **LOGGING_CONFIG["handlers"],
        "access": {
            **LOGGING_CONFIG["handlers"]["access"],
            "stream": "ext://sys.stderr",
        },
    },
}
"""uvicorn's way of logging, with nothing on stdout."""
_PATIENCE = 3
"""Seconds that answers under way have to end once the server is told to."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server listens.

    Attributes:
        host: name or address.
        port: a port, or 0 for a free one.
    """

    host: str = "127.0.0.1"
    port: int = 8000

    def open(self) -> socket.socket:
        """The socket, bound and not listening yet.

        Raises:
            InvalidValueError: the port is in use, or the host is not of this machine.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            opened = socket.socket(family, kind, protocol)
            if os.name == "posix":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                opened.bind(address)
            except OSError:
                opened.close()
                raise
        except (OSError, UnicodeError) as error:
            raise InvalidValueError(self._why(error)) from error
        return opened

    def listen(self, opened: socket.socket, path: str = "/v1") -> str:
        """Let clients connect to the socket; returns the base URL for them.

        Args:
            opened: from `open`.
            path: where the URL leads on this server.

        Raises:
            InvalidValueError: another process listens at the port by now.
        """
        try:
            opened.listen(_BACKLOG)
        except OSError as error:
            raise InvalidValueError(self._why(error)) from error
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{opened.getsockname()[1]}{path}"

    def _why(self, error: Exception) -> str:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            return f"Port {self.port} of {self.host} is in use; give another, such as --port {self.port + 1}, or 0."
        if number in (errno.EACCES, errno.EPERM):
            return f"Port {self.port} may not be opened by this user; give one above 1023."
        return f"{self.host!r} is no name or address of this machine; give 127.0.0.1, or 0.0.0.0 for all its addresses."


def try_method(loaded: Loaded, methods: MethodChoice) -> None:
    """Answer one word about an empty picture.

    So what cannot be served fails before anybody asks.

    Raises:
        TodreError: the model, or the method on it, is not possible.
    """
    picture = Image.new("RGB", (336, 336), (128, 128, 128))
    turn = Turn(role="user", parts=(picture, "What is in the picture?"))
    answer_task(
        loaded,
        Task(
            turns=(turn,),
            method=methods.method,
            sampling=Sampling(),
            max_new_tokens=1,
            most_new_tokens=1,
            stop=(),
            seed=methods.seed,
            guard=methods.guard,
        ),
        None,
        lambda: False,
    )


def make_server(application: App, *, access_log: bool = False) -> uvicorn.Server:
    """The HTTP server of an application, which `run(sockets=[…])` starts.

    Args:
        application: from `make_application`.
        access_log: whether each request is logged on stderr.
    """
    config = uvicorn.Config(
        application,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        log_config=_LOGGING,
        lifespan="on",
        timeout_graceful_shutdown=_PATIENCE,
    )
    return uvicorn.Server(config)
