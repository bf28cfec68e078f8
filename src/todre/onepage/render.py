"""The HTML of a page: one file, with every script and picture inside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from todre.environment import versions
from todre.errors import InvalidValueError
from todre.onepage import require_packages
from todre.onepage.pieces import Page

TEMPLATE, STYLE, SCRIPT = "page.html.jinja", "page.css", "page.js"
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the page's own script needs of the bundle."""


def html(page: Page) -> str:
    """The page's HTML, in which all text is escaped.

    Raises:
        MissingDependencyError: the extra `report` is not installed.
    """
    require_packages()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    scripts = [*([bundle()] if page.charts else []), _shipped(SCRIPT)]
    return environment.from_string(_shipped(TEMPLATE)).render(
        page=page,
        policy=policy(scripts),
        version=versions().get("todre", ""),
        style=Markup(_shipped(STYLE)),
        specs=[Markup(inert_json(chart.spec)) for chart in page.charts],
        scripts=[Markup(script) for script in scripts],
    )


def policy(scripts: Sequence[str]) -> str:
    """The rule for browsers: these scripts alone run, and nothing is fetched."""
    known = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {known}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def bundle() -> str:
    """Vega-Lite and what it needs as one script, from the installed package.

    Raises:
        InvalidValueError: the script would end, or hide, its own element in the page.
    """
    import vl_convert

    found: str = vl_convert.javascript_bundle(_SNIPPET)
    if any(sign in found.lower() for sign in ("</script", "<!--", "<script", "\r")):
        raise InvalidValueError(
            "This release of vl-convert-python has a script that cannot stand in a page; install another release."
        )
    return found


def inert_json(value: Any) -> str:
    """JSON in which no sign can end the element that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _shipped(name: str) -> str:
    return files("todre.onepage").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
