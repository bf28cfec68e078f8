"""Short requests to a server beside the measured ones; a failure is no error."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

SECONDS = 10.0
"""Seconds that a short request may take."""


def get(address: str) -> str | None:
    """The text at an address; None if there is none, or no answer."""
    return _read(address)


def post(address: str, document: Any) -> Any:
    """The JSON answer to a JSON document; None if there is none."""
    body = json.dumps(document).encode("utf-8")
    text = _read(urllib.request.Request(address, body, {"Content-Type": "application/json"}))
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _read(request: str | urllib.request.Request) -> str | None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # proxies are for other addresses
    try:
        with direct.open(request, timeout=SECONDS) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None
