"""A note for answers of a shipped model: the model is a toy."""

from __future__ import annotations

from todre.cli.console import note
from todre.loading.model import Loaded
from todre.shipped import named, names


def say_if_toy(loaded: Loaded, quiet: bool, remedy: str = "name a real model with -m") -> None:
    """Say on stderr that a shipped model is a toy, and how to name a real one.

    Args:
        loaded: the model that answered.
        quiet: True prints nothing.
        remedy: how to name a real model.
    """
    if loaded.name in names():
        note(f"{loaded.name}{named(loaded.name).caution}; {remedy}.", quiet)
