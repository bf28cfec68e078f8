"""The packages that the page needs beside todre's own."""

from __future__ import annotations

from todre.environment import need

_NEEDED = ("gradio", "matplotlib")


def require_packages() -> None:
    """Raise unless the packages of the extra `page` are there.

    Raises:
        MissingDependencyError: one is absent.
    """
    need(_NEEDED, "The page", "page")
