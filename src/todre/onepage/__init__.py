"""One self-contained HTML page of a run (extra `report`).

`runs` finds out which command wrote a file, `eval_page`, `bench_page` and `reproduce_page` put the parts of its page
together, and `render` makes the HTML. `pieces` holds the parts themselves, `charts` and its neighbours draw with
Altair, and `samples` makes the pictures of questions again. The page asks no network for anything.
"""

from __future__ import annotations

import importlib.util

from todre.errors import MissingDependencyError

PACKAGES = ("altair", "vl_convert", "jinja2")
"""Modules that a page is made with."""


def require_packages() -> None:
    """Raise `MissingDependencyError` unless the extra is installed; imports nothing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"A page needs {missing[0]}, which is not installed; run `pip install 'todre[report]'`, or use `todre "
            "table`."
        )
