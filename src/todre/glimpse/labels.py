"""Target masks of the predictor: visual tokens that a question is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from todre.scenes import Question, Scene, SceneObject
from todre.scenes.vocabulary import COLOURS, SHAPES, SIZES, plural
from todre.tiny.labels import patch_owners
from todre.tiny.model import GRID, PATCH

_SINGULAR = {name: shape for shape in SHAPES for name in (shape, plural(shape))}
_REFERENCE = re.compile(
    rf"\b(?:(?P<size>{'|'.join(SIZES)})\s+)?"
    rf"(?:(?P<colour>{'|'.join(COLOURS)})(?:\s+(?P<both>{'|'.join(_SINGULAR)}))?|(?P<shape>{'|'.join(_SINGULAR)}))\b"
)


def subject_places(question: Question, objects: Sequence[SceneObject]) -> list[int]:
    """0-based indices in `objects` of the objects that a question is about.

    For a digit or a word it is the plate; for a caption, every shape. Otherwise it is every shape that has the size,
    colour and shape of some reference in the question's text, so none if the question is about an absent object.
    """
    if question.task in ("digit", "word"):
        return [place for place, thing in enumerate(objects) if thing.kind == question.task]
    shapes = [place for place, thing in enumerate(objects) if thing.kind == "shape"]
    if question.task == "caption":
        return shapes
    named = [match.groupdict() for match in _REFERENCE.finditer(question.text.lower())]
    return [place for place in shapes if any(_fits(objects[place], reference) for reference in named)]


def _fits(thing: SceneObject, reference: dict[str, str | None]) -> bool:
    shape = reference["both"] or reference["shape"]
    return (
        reference["size"] in (None, thing.size)
        and reference["colour"] in (None, thing.colour)
        and (shape is None or _SINGULAR[shape] == thing.shape)
    )


def token_owners(scene: Scene) -> NDArray[np.int64]:
    """(n,) object (1-based) that each visual token shows; 0 for none, and newlines.

    Tokens are in the shipped model's order.

    The thumbnail comes first, then the united crops row by row, each with a newline token. The picture's sides must be
    multiples of 16 and at most 192 pixels.
    """
    width, height = scene.size
    fine = patch_owners(scene.owners, height // PATCH, width // PATCH)
    return np.concatenate([patch_owners(scene.owners, GRID, GRID).ravel(), np.pad(fine, ((0, 0), (0, 1))).ravel()])


def token_mask(scene: Scene, question: Question) -> NDArray[np.bool_]:
    """(n,) bool, True at the visual tokens that show what the question is about."""
    labels = np.array(subject_places(question, scene.objects), dtype=np.int64) + 1
    return np.isin(token_owners(scene), labels)
