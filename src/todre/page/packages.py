"""The packages that the page needs beside todre's own."""

from __future__ import annotations

import importlib.util

from todre.errors import MissingDependencyError

_NEEDED = ("gradio", "matplotlib")


def require_packages() -> None:
    """Raise unless the packages of the extra `page` are there.

    Raises:
        MissingDependencyError: one is absent.
    """
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"The page needs packages that are absent ({', '.join(absent)}); install them: pip install 'todre[page]'."
        )
