"""Checkpoints of a run, which say how they were trained.

A stage goes on only from one that was trained with its own settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from todre.errors import InvalidValueError, LoadError
from todre.files import Kind, printable, sha256
from todre.files.shapes import ANY
from todre.smol.base import RECORD, WEIGHTS, read_base
from todre.smol.part import read_part
from todre.smol.training.options import Options
from todre.smol.training.stages import STAGES
from todre.tiny.runfiles import load_state

DECODER = Kind("give a folder as `todre smol fetch` writes it", ANY, LoadError, most=2**40)
"""A decoder's file of weights."""
_OF_RUN = ("seed", "rank", "scale")
_OF_STEPS = ("batch", "processes")
_OF_OWN = (*_OF_RUN, "dtype", *_OF_STEPS)
_BEFORE = {"places": "short", **{stage.name: stage.before for stage in STAGES.values()}}


def facts_of(options: Options) -> dict[str, Any]:
    """How a stage is trained, as its checkpoint says it under "facts".

    Stages without steps have no entries about steps.
    """
    steps = (*_OF_STEPS, "minutes", "lr") if options.stage in STAGES else ()
    facts = {name: getattr(options, name) for name in ("stage", *_OF_RUN, "dtype", *steps)}
    return {**facts, "base_sha256": base_sha256(options.base)}


def base_sha256(folder: Path) -> str:
    """SHA-256 of the file that the weights of a decoder's folder came from.

    Where nothing beside the weights says it, it is that of the folder's own file of weights.

    Raises:
        LoadError: the folder holds no weights, or damaged ones.
    """
    if (folder / RECORD).is_file():
        return read_base(folder).origin.sha256
    return sha256(folder / WEIGHTS, DECODER)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A stage's checkpoint, with its "facts".

    Raises:
        InvalidValueError: it is not there, is another stage's, or does not say how it was trained.
    """
    if not file.is_file():
        raise InvalidValueError(f"{printable(file)} is not there; train {file.stem} first.")
    state = load_state(file, torch.device("cpu"))
    if "facts" not in state:
        raise InvalidValueError(
            f"{printable(file)} does not say how it was trained, as an earlier version wrote it; train the stage anew "
            "in another run."
        )
    if state["facts"]["stage"] != file.stem:
        raise InvalidValueError(
            f"{printable(file)} is a checkpoint of {state['facts']['stage']}, not of {file.stem}; give it its own name."
        )
    return state


def start_of(options: Options) -> dict[str, Any]:
    """What a stage goes on from, the first that is there of three.

    They are its own checkpoint, a part file, and the checkpoint of the stage before it.

    Returns:
        "trained" → tensors by name; for its own checkpoint, also "optimizer", "step" and "seconds".

    Raises:
        InvalidValueError: there is none, or it was trained with other settings.
        LoadError: the part file is none.
    """
    own = options.file(options.stage, "pt")
    if options.stage in STAGES and own.exists():
        return _fitting(own, options, _OF_OWN)
    if options.start is not None:
        part = read_part(options.start)
        _compare(options.start, {"rank": part.rank, "scale": part.scale}, options)
        _check_base(options.start, part.base_sha256, options)
        return {"trained": dict(part.tensors)}
    return _fitting(options.file(_BEFORE[options.stage], "pt"), options, _OF_RUN)


def _fitting(file: Path, options: Options, names: tuple[str, ...]) -> dict[str, Any]:
    """A checkpoint whose facts of these names, and decoder, are those of the options."""
    state = read_checkpoint(file)
    facts = state["facts"]
    _compare(file, {name: facts[name] for name in names}, options)
    _check_base(file, facts["base_sha256"], options)
    return state


def _check_base(file: Path, there: str, options: Options) -> None:
    """Raise unless a file was trained on the weights of the decoder in use."""
    if there != base_sha256(options.base):
        raise InvalidValueError(
            f"{printable(file)} was trained on weights of the decoder with the SHA-256 {there[:12]}…, which "
            f"{printable(options.base)} does not have; give their folder with --base, or start from something else."
        )


def _compare(file: Path, facts: Mapping[str, Any], options: Options) -> None:
    for name, there in facts.items():
        wanted = getattr(options, name)
        if there != wanted:
            raise InvalidValueError(
                f"{printable(file)} was trained with {name} {there}, not {wanted}; take the same {name}, or start from "
                "something else."
            )
