"""Servers of a load run: started, waited for, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from todre.bench.load.configurations import MODEL, PORT, Configuration
from todre.bench.load.http import get
from todre.errors import LoadError
from todre.files import printable

HOST = "127.0.0.1"
LOOK = 0.2
"""Seconds between two looks at a server that is starting or stopping."""
PATIENCE = 20.0
"""Seconds that a server has to stop, before it is killed."""
_ERROR = re.compile(r"\b[A-Z]\w*(?:Error|Exception): .+")
"""How Python names an error at the end of a traceback."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        process: the process that was started.
        port: the port that it listens at.
        log: file of what it prints.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def root(self) -> str:
        """The address below which the server has `/health`, `/metrics` and `/v1`."""
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def running(
    configurations: Sequence[Configuration], model: str, ready: float, tick: Any
) -> Iterator[dict[str, Server]]:
    """Run every configuration's server inside the block; returns servers by name.

    All servers are there for the whole block, and idle while another is asked. Each is started after the one before
    answers, so that no two load a model at the same time.

    Args:
        configurations: what is compared.
        model: folder or hub id, filled in for `{model}`.
        ready: seconds that a server has to answer `/health`.
        tick: called with a description of each step before the step begins.

    Raises:
        LoadError: a server does not start.
    """
    with (
        _ended_by_a_signal(),
        tempfile.TemporaryDirectory(prefix="todre-servers-") as folder,
        contextlib.ExitStack() as stack,
    ):
        servers: dict[Any, Server] = {}
        for each in configurations:
            if each.server not in servers:
                tick(f"starting the server of {each.name}")
                log = Path(folder) / f"{len(servers)}.log"
                servers[each.server] = stack.enter_context(_started(each, model, log))
                _wait_until_ready(servers[each.server], each.name, ready)
        yield {each.name: servers[each.server] for each in configurations}


@contextlib.contextmanager
def _ended_by_a_signal() -> Iterator[None]:
    """Let SIGTERM leave the block as an exception does, so that no server stays."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread, which alone is told of signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _started(configuration: Configuration, model: str, log: Path) -> Iterator[Server]:
    """Start a server in a process group of its own; stop the group after the block."""
    port = free_port()
    command = [filled(word, port, model) for word in configuration.command]
    environment = {**os.environ, **configuration.environment}
    with log.open("wb") as output:
        process = _start(command, environment, output, configuration.name)
        try:
            yield Server(process, port, log)
        finally:
            _stop(process)


def _start(command: list[str], environment: dict[str, str], output: IO[bytes], name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    except OSError as error:
        raise LoadError(
            f"The server of {name} cannot be started ({printable(command[0])}: {error.strerror}); check its command."
        ) from error


def filled(word: str, port: int, model: str) -> str:
    """A word of a command with the port and the model filled in."""
    return word.replace(PORT, str(port)).replace(MODEL, model)


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server, name: str, ready: float) -> None:
    deadline = time.monotonic() + ready
    while True:
        if server.process.poll() is not None:
            raise LoadError(
                f"The server of {name} ended with {server.process.returncode} before it was ready "
                f"({telling_line(server.log)}); run its command by hand to see more."
            )
        if get(f"{server.root}/health") is not None:
            return
        if time.monotonic() > deadline:
            raise LoadError(
                f"The server of {name} was not ready after {ready:g} seconds ({telling_line(server.log)}); "
                "give it more time, or run its command by hand."
            )
        time.sleep(LOOK)


def telling_line(log: Path) -> str:
    """The line by which a server says best why it ended, as short as a sentence needs.

    That is the first error that it names, from which others follow, or else its last line.
    """
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [found[0] for line in lines if (found := _ERROR.search(line))]
    return printable((errors or lines)[0 if errors else -1].strip()) if lines else "it printed nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end; kill what is left of it after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(process.pid, number)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if process.poll() is not None and not _group_is_there(process.pid):
                return
            time.sleep(LOOK)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
