"""Configurations: what is compared, and how each one's server is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from todre.errors import InvalidValueError
from todre.fields import Checked, Items
from todre.files import Kind, read_json
from todre.files.shapes import OBJECT, TEXT, Each, Shape

PORT, MODEL = "{port}", "{model}"
"""Words of a command that stand for the server's port, and for the model's folder."""
Tower = Literal["none", "metrics", "vllm"]
"""Where a server tells how long its vision tower ran.

`metrics` are the seconds of the stage `tower` in `todre_stage_seconds`; `vllm` are calls of the worker, for servers
that were started with `VLLM_SERVER_DEV_MODE=1` and
`--worker-extension-cls todre.bench.load.vllm_worker.EncoderTimes`.
"""

_SHAPE: Shape = {
    "name": TEXT, "command": [TEXT], "environment?": Each(TEXT), "body?": OBJECT, "model?": TEXT, "tower?": TEXT
}  # fmt: skip
_FILE = Kind("give a JSON list of configurations as docs/benchmarks.md describes them", [_SHAPE])


@dataclass(frozen=True)
class Configuration(Checked):
    """A server, and what its requests add; the first of a run is the baseline.

    Configurations with the same command and environment share one server.

    Attributes:
        name: the configuration's name in results.
        command: program and arguments; `{port}` and `{model}` are filled in.
        environment: variables that are set for the server, besides those of this process.
        body: more entries of each request's body.
        model: the model's name at the server; `{model}` is filled in.
        tower: where the server tells how long its vision tower ran.
    """

    name: str
    command: Annotated[tuple[str, ...], Items(least=1)]
    environment: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    model: str = MODEL
    tower: Tower = "none"

    @property
    def server(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Command and environment; equal ones share a server."""
        return self.command, tuple(sorted(self.environment.items()))

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return {**vars(self), "command": list(self.command)}


def read_configurations(path: Path) -> list[Configuration]:
    """Read a JSON list of configurations.

    Raises:
        InvalidValueError: the file is no such list, or two configurations have one name.
    """
    entries = read_json(path, _FILE)
    unknown = sorted({name for entry in entries for name in entry} - {*Configuration.__dataclass_fields__})
    if unknown:
        raise _FILE.wrong(path, f"has {unknown[0]!r}, which no configuration has")
    return checked([Configuration(**entry) for entry in entries])


def checked(configurations: list[Configuration]) -> list[Configuration]:
    """The configurations, if there are some and their names differ.

    Raises:
        InvalidValueError: there is none, or two have one name.
    """
    if not configurations:
        raise InvalidValueError("There is no configuration to measure; give at least one.")
    names = [each.name for each in configurations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidValueError(f"{twice!r} would be measured twice; name each configuration once.")
    return configurations
