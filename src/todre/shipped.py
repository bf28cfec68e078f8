"""The models that have names: they ship whole, or but for a fetched decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from todre import smol, tiny
from todre.files import Kind, opened
from todre.files.shapes import ANY

CHECKPOINT = Kind("get a complete copy of the model", ANY, most=2**50)
"""Kind of file: any file of a model's folder."""


@dataclass(frozen=True)
class NamedModel:
    """A model that has a name.

    Attributes:
        name: that -m takes.
        model_type: its architecture.
        media: what it answers about: "images", or "images, clips".
        arrives: how it comes to the user, in a sentence after its name.
        caution: what its answers are worth, in a sentence after its name.
    """

    name: str
    model_type: str
    media: str
    arrives: str
    caution: str


_WHOLE = "comes with todre"
_FETCHED = "comes with todre, but for its decoder, which `todre smol fetch` gets once"
_TOY = ", which ships with todre, is a toy: it knows about a hundred words and synthetic scenes"
_EYES = ", which ships with todre, is a toy: its decoder knows English, but its eyes saw synthetic scenes alone"
_MODELS = (
    NamedModel(tiny.SHIPPED, "llava_next", "images", _WHOLE, _TOY),
    NamedModel(tiny.SHIPPED_VIDEO, "llava_next_video", "images, clips", _WHOLE, _TOY),
    NamedModel(smol.SMOL, "llava_next", "images", _FETCHED, _EYES),
    NamedModel(smol.SMOL_1, "llava_next", "images", _FETCHED, _EYES),
)


def names() -> tuple[str, ...]:
    """Names of the models, also of those that this release of todre does not bring."""
    return tuple(model.name for model in _MODELS)


def brought() -> tuple[NamedModel, ...]:
    """The models that this release of todre brings."""
    return tuple(model for model in _MODELS if model.name not in smol.names() or smol.has_part(model.name))


def named(name: str) -> NamedModel:
    """The facts about a model that has a name."""
    return next(model for model in _MODELS if model.name == name)


def checkpoint_path(name: str = tiny.SHIPPED, announce: Callable[[str], None] = lambda sentence: None) -> Path:
    """The folder of a model, as `from_pretrained` reads it.

    Args:
        name: one of `names()`.
        announce: called with a sentence before a long step.

    Warns:
        OtherWeightsWarning: the decoder in the cache is not the one that the model was trained with.

    Raises:
        LoadError: a part of the model is not there; the message says how to get it.
        OutputError: the cache, in which such a model is put together, cannot be written.
    """
    if name in smol.names():
        from todre.smol.assembled import assembled_path

        return assembled_path(name, announce)
    return tiny.checkpoint_path(name)


def model_sha256(name: str) -> str:
    """SHA-256 that stands for a model with a name, the same on every machine.

    Raises:
        LoadError: a part of the model is not there; the message says how to get it.
    """
    if name in smol.names():
        from todre.smol.assembled import identity

        return identity(name)
    return folder_sha256(tiny.checkpoint_path(name))


def folder_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's configuration and weights.

    Raises:
        InvalidValueError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0")
        with opened(file, CHECKPOINT) as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
    return digest.hexdigest()
