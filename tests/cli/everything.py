"""Every command with arguments that it takes, and every option of it: what tests of a whole kind go through."""

from __future__ import annotations

import functools
from typing import Any

from todre.cli.app import command

QUESTION = "Is there a red square in the picture?"
_CPU = ("--device", "cpu")

RUNS: dict[str, tuple[str, ...]] = {
    "ask": ("PICTURE", QUESTION, "--max-new-tokens", "2", *_CPU),
    "compare": ("PICTURE", QUESTION, "--max-new-tokens", "2", "--warm-up", "0", "--repeats", "1", *_CPU),
    "animate": ("PICTURE", QUESTION, "--max-new-tokens", "2", "--frames", "2", "--output", "NEW.gif", *_CPU),
    "chat": _CPU,
    "batch": ("PICTURE", "--question", QUESTION, "--max-new-tokens", "2", "--output", "NEW.jsonl", *_CPU),
    "demo": ("--output", "NEW"),
    "serve": ("--check", "--port", "0", *_CPU),
    "page": ("--check", "--port", "0", *_CPU),
    "vllm-args": (),
    "flops": (),
    "bench": ("--random-weights", "tiny", "--rounds", "1", "--warm-up", "0", "--no-memory", "--new-tokens", "1", *_CPU),
    "eval": ("--tasks", "scenes-colour", "--limit", "1", "--methods", "random", "--retain", "0.5", "--draws", "1",
             "--size", "96", "--output", "NEW", *_CPU),
    "table": ("RUN",),
    "report": ("RUN", "--output", "NEW.html"),
    "reproduce": ("--list",),
    "fit": ("vtw", "--tolerance", "9", "--limit", "1", "--size", "96", "--output", "NEW.json", *_CPU),
    "methods": (),
    "models": (),
    "env": (),
    "version": (),
    "analyze migration": ("--limit", "1", "--size", "96", "--max-new-tokens", "1", "--output", "NEW.json", *_CPU),
    "analyze horizon": ("--limit", "1", "--size", "96", "--window", "6", "--layers", "1", "--output", "NEW.json",
                        *_CPU),
    "analyze redundancy": ("--limit", "3", "--size", "96", "--output", "NEW.json", *_CPU),
    "analyze guard": ("--limit", "8", "--tasks", "presence,colour", "--max-new-tokens", "2", "--loss", "0.9",
                      "--output", "NEW.json", *_CPU),
    "analyze calibrate": ("--limit", "4", "--size", "96", "--layers", "2", "--max-new-tokens", "1", "--output",
                          "NEW.json", *_CPU),
    "analyze kept": ("--limit", "1", "--size", "96", "--max-new-tokens", "1", "--output", "NEW.json", *_CPU),
    "plot retention": ("RUN", "--output", "NEW.png"),
    "plot radar": ("RUN", "--output", "NEW.png"),
    "plot pareto": ("RUN", "--output", "NEW.png"),
    "plot heatmap": ("RUN", "--output", "NEW.png"),
    "smol fetch": (),
}  # fmt: skip
"""By command, arguments with which it is done in a moment: PICTURE, RUN and NEW stand for paths."""

SILENT = ("batch", "report", "plot retention", "plot radar", "plot pareto", "plot heatmap")
"""Commands that print nothing on stdout."""
LIGHT = ("flops", "reproduce", "methods", "models", "env", "version", "table", "smol fetch")
"""Commands that load no model, and print."""


@functools.cache
def commands() -> dict[str, Any]:
    """Every command by its name, from the application itself."""
    found: dict[str, Any] = {}

    def add(group: Any, before: str) -> None:
        for name, found_here in group.commands.items():
            if hasattr(found_here, "commands"):
                add(found_here, f"{before}{name} ")
            else:
                found[before + name] = found_here

    add(command(), "")
    return found


def arguments(name: str, picture: object, run: object, new: object) -> list[str]:
    """The words of a command that is done in a moment."""
    places = {"PICTURE": str(picture), "RUN": str(run), "NEW": str(new)}
    words = [places.get(word, word.replace("NEW.", f"{new}.") if word.startswith("NEW.") else word)
             for word in RUNS[name]]  # fmt: skip
    return [*name.split(), *words]
