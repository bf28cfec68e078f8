"""The packages that a server needs beside todre's own."""

from __future__ import annotations

from todre.environment import need

_NEEDED = ("fastapi", "uvicorn", "openai", "pydantic", "prometheus_client")


def require_packages() -> None:
    """Raise unless the packages of the extra `serve` are there.

    Raises:
        MissingDependencyError: one is absent.
    """
    need(_NEEDED, "A server", "serve")
