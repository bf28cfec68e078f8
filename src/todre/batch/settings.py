"""The settings of a run, in a file beside its output."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from todre.environment import versions
from todre.files import Kind, printable, read_json, write_atomic
from todre.files.shapes import OBJECT, TEXT

FORMAT = "todre batch 1"
SETTINGS = Kind("remove it, or give another --output", {"format": TEXT, "conditions": OBJECT}, lenient=True)
"""Kind of file: the settings of a run."""

_MATTER = ("todre", "transformers", "torch")


def settings_file(file: Path) -> Path:
    """The file beside an output that holds the settings of its run."""
    return file.with_name(file.name + ".run.json")


def write_settings(file: Path, conditions: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write down the settings of a new run."""
    document = {"format": FORMAT, "conditions": conditions, **facts, "versions": versions()}
    write_atomic(settings_file(file), json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_settings(file: Path) -> dict[str, Any]:
    """The settings that a run wrote down; empty if there are none."""
    beside = settings_file(file)
    if not os.path.lexists(beside):
        return {}
    found = read_json(beside, SETTINGS)
    if found["format"] != FORMAT:
        raise SETTINGS.wrong(beside, f"is not of the format {FORMAT!r}")
    return dict(found["conditions"])


def other_versions(file: Path) -> dict[str, tuple[str, str]]:
    """Packages whose version has changed since an output was begun: (then, now).

    Answers may depend on them, but an output goes on all the same.
    """
    beside, now = settings_file(file), versions()
    if not os.path.lexists(beside) or not os.path.lexists(file):
        return {}
    then = read_json(beside, SETTINGS).get("versions")
    before = then if isinstance(then, dict) else {}
    return {
        name: (str(before[name]), now[name])
        for name in _MATTER
        if name in before and name in now and before[name] != now[name]
    }


def difference(file: Path, conditions: dict[str, Any]) -> str:
    """The sentence about an output of other settings.

    It names the first that differs, where the settings were written down.
    """
    before, now = _flat(read_settings(file)), _flat(json.loads(json.dumps(conditions)))
    for name in [*now, *sorted(set(before) - set(now))] if before else ():
        if before.get(name) != now.get(name):
            return (
                f"{printable(file)} belongs to a run with {name} {_short(before.get(name))}, not "
                f"{_short(now.get(name))}; use the same options to go on, or give another --output."
            )
    other = "belongs to a run with other settings; use the same options to go on, or give another --output"
    return f"{printable(file)} {other}."


def _flat(conditions: dict[str, Any]) -> dict[str, Any]:
    """The conditions, with a method's fields as `method.retain` and so on."""
    found: dict[str, Any] = {}
    for name, value in conditions.items():
        inner = value.items() if isinstance(value, dict) else ()
        found |= {f"{name}.{each}": held for each, held in inner} if inner else {name: value}
    return found


def _short(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 80)
