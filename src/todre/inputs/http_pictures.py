"""Pictures of web addresses, fetched within limits.

A name is resolved once, every address is checked, and the connection goes to a checked address, so that a name that
answers differently the next time leads nowhere. Redirects are followed by the same rule, and none leads from the public
internet to another address.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from todre.errors import ImageError
from todre.files import printable
from todre.files.names import reason
from todre.inputs.public_addresses import Address, checked_addresses, is_public, resolve

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class FetchRules:
    """What may be fetched.

    Attributes:
        most_bytes: largest file.
        seconds: longest time for one picture, redirects included; looking a name up is the system's own time.
        together: longest time for all pictures of a request, in seconds.
        redirects: most redirects that are followed.
        allowed: whether an address may be opened.
        lookup: finds the addresses of a host and a port.
        instead: what errors say to do instead; the end of a sentence.
    """

    most_bytes: int = 20_000_000
    seconds: float = 10.0
    together: float = 30.0
    redirects: int = 3
    allowed: Callable[[Address], bool] = is_public
    lookup: Callable[[str, int], list[Address]] = resolve
    instead: str = "send a data: URL"


def fetch_picture(
    url: str, rules: FetchRules | None = None, until: float = math.inf, take: Callable[[int], None] = lambda size: None
) -> bytes:
    """The bytes of a picture at an `http` or `https` address.

    Args:
        url: the address.
        rules: what may be fetched; None for the defaults.
        until: when it must be there, by `time.monotonic`, if that is sooner than `rules.seconds`.
        take: called with the size of each piece before it is kept; what it raises ends the fetching.

    Raises:
        ImageError: the address may not be opened, does not answer in time, or does not hold a file within the limits.
    """
    rules = rules or FetchRules()
    until = min(until, time.monotonic() + rules.seconds)
    allowed = rules.allowed
    for _ in range(rules.redirects + 1):
        parts = _split(url, rules.instead)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        addresses = checked_addresses(host, port, rules.lookup, allowed, rules.instead)
        found = _get(parts, _Connection(host, port, addresses, until, parts.scheme == "https"), rules, until, take)
        if isinstance(found, bytes):
            return found
        if all(map(is_public, addresses)):
            allowed = _allowed_and_public(rules.allowed)
        try:
            url = urljoin(url, found)
        except ValueError as error:
            raise ImageError(
                f"The picture's address is redirected to {printable(found)!r}, which is no address; {rules.instead}."
            ) from error
    raise ImageError(
        f"The picture's address is redirected more than {rules.redirects} times; give the last one, or {rules.instead}."
    )


def _allowed_and_public(allowed: Callable[[Address], bool]) -> Callable[[Address], bool]:
    return lambda address: allowed(address) and is_public(address)


def _split(url: str, instead: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ImageError(f"{printable(url)!r} is no http or https address; {instead}.")
    if parts.username is not None or parts.password is not None:
        raise ImageError(f"The picture's address holds a user's name or password; {instead}.")
    return parts


def _get(
    parts: SplitResult, connection: _Connection, rules: FetchRules, until: float, take: Callable[[int], None]
) -> bytes | str:
    """The file at an address, or the address that it is redirected to."""
    host = connection.host
    alarm = threading.Timer(max(until - time.monotonic(), 0.0), connection.give_up)
    alarm.daemon = True
    alarm.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "todre"})
        response = connection.getresponse()
        place = response.getheader("Location")
        if response.status in _REDIRECTS and place:
            return place
        if response.status != 200:
            raise ImageError(
                f"The picture's host {printable(host)!r} answered {response.status}; check the address, or "
                f"{rules.instead}."
            )
        data = _read(response, rules, take)
        if connection.late:
            raise TimeoutError
        return data
    except (OSError, http.client.HTTPException, ValueError) as error:
        slow = f"it took longer than {rules.seconds:g} seconds"
        if math.isfinite(rules.together):
            slow += f", or all pictures longer than {rules.together:g}"
        why = slow if connection.late or isinstance(error, TimeoutError) else reason(error)
        raise ImageError(
            f"The picture cannot be fetched from {printable(host)!r} ({why}); check the address, or {rules.instead}."
        ) from error
    finally:
        alarm.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse, rules: FetchRules, take: Callable[[int], None]) -> bytes:
    """The body, with which a large file cannot fill the memory."""
    pieces, size = [], 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > rules.most_bytes:
            raise ImageError(
                f"The picture's file is larger than {rules.most_bytes:,} bytes; scale it down, or {rules.instead}."
            )
        take(len(piece))
        pieces.append(piece)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were checked, whatever the name means by now."""

    def __init__(self, host: str, port: int, addresses: list[Address], until: float, encrypted: bool) -> None:
        self.default_port = _PORTS["https" if encrypted else "http"]
        super().__init__(host, port, timeout=max(until - time.monotonic(), 0.001))
        self._addresses, self._until = addresses, until
        self._context = ssl.create_default_context() if encrypted else None
        self._opened: socket.socket | None = None
        self.late = False

    def connect(self) -> None:
        """Connect to the first address that answers."""
        failure: OSError | None = None
        for address in self._addresses:
            left = self._until - time.monotonic()
            if left <= 0:
                break
            try:
                self.sock = self._opened = socket.create_connection((str(address), self.port), left)
                if self._context is not None:
                    self.sock.settimeout(max(self._until - time.monotonic(), 0.001))
                    self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
                self._opened = self.sock  # as `sock` is gone once a last response has begun
                if self.late:  # the alarm rang within the handshake, when there was no socket for it to close
                    raise TimeoutError
                return
            except OSError as error:
                failure = error
        raise failure or TimeoutError("no address answered in time")

    def give_up(self) -> None:
        """End what the connection waits for, however slowly the other side sends."""
        self.late = True
        if self._opened is not None:
            with suppress(OSError):
                self._opened.shutdown(socket.SHUT_RDWR)
