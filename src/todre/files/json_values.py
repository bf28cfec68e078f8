"""JSON values, read within limits of depth and number and with no name twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import accumulate
from typing import Any

from todre.files.kind import Kind
from todre.files.names import printable, reason

MOST_DEPTH = 64
"""Deepest nesting of JSON."""
MOST_VALUES = 300_000
"""Most values of a document, or of a line, nested values included.

A small file can hold very many values, and each takes 100 bytes.
"""

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_MARKS = bytes(set(range(256)) - set(b"[]{},"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def load_value(text: str, raw: bytes, where: str, kind: Kind, lines: bool) -> Any:
    """The JSON value of a text, within the limits.

    A text with a lone surrogate is refused; so is a name that comes twice in an object, unless `kind` is lenient.
    """
    what = "JSON" if lines else "JSON object"
    _check_measure(raw, where, kind)
    try:
        value = json.loads(text) if kind.lenient else json.loads(text, object_pairs_hook=_once, parse_constant=_no)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if lines else f"column {error.colno}"
        raise kind.wrong(where, f"is no {what} ({error.msg.lower()}, {place})") from error
    except (ValueError, RecursionError) as error:
        raise kind.wrong(where, f"is no {what} that can be used ({reason(error)})") from error
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = printable(error.object[error.start])
            raise kind.wrong(where, f"holds half of a character ({half}), which no text can hold") from error
    return value


def _check_measure(raw: bytes, where: str, kind: Kind) -> None:
    """Raise if JSON is nested too deep or holds too many values.

    Only brackets, commas and quotes of the JSON are looked at.
    """
    texts = (raw.count(b'"') - raw.count(b'\\"')) // 2
    if texts > 2 * MOST_VALUES:  # a value and its name are two
        raise kind.wrong(where, f"holds {texts:,} texts, and at most {2 * MOST_VALUES:,} are read")
    marks = _STRINGS.sub(b"", raw).translate(None, _NO_MARKS)
    values = len(marks) - marks.count(b"]") - marks.count(b"}")
    if values > MOST_VALUES:
        raise kind.wrong(where, f"holds {values:,} values, and at most {MOST_VALUES:,} are read")
    depth = max(accumulate(map(_STEPS.__getitem__, marks.translate(None, b","))), default=0)
    if depth > MOST_DEPTH:
        raise kind.wrong(where, f"is nested {depth} deep, and at most {MOST_DEPTH} is read")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{printable(repr(twice), 60)} stands twice in one object")
    return found


def _no(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
