"""The pictures that the page offers: a synthetic scene, and photographs that ship."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from todre.errors import InvalidValueError
from todre.files import printable
from todre.scenes import PHOTOGRAPHS, make_scene, photograph

_SEED = 3
"""The scene that `todre demo` shows."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture that ships with todre, and a question about it.

    Attributes:
        name: how links and the page call it.
        question: a question that the shipped model has words for.
        source: Python that makes the picture, an expression.
        imports: the line of Python that `source` needs first.
        open: makes a fresh RGB picture.
    """

    name: str
    question: str
    source: str
    imports: str
    open: Callable[[], Image.Image]


def _of_photograph(name: str) -> Example:
    return Example(
        name=name,
        question="Is there a green square in the picture?",
        source=f'photograph("{name}")',
        imports="from todre.scenes import photograph",
        open=lambda: photograph(name),
    )


EXAMPLES = (
    Example(
        name="scene",
        question="Is there a blue triangle in the picture?",
        source=f'make_scene({_SEED}, "val").image',
        imports="from todre.scenes import make_scene",
        open=lambda: make_scene(_SEED, "val").image,
    ),
    *map(_of_photograph, PHOTOGRAPHS),
)
"""All examples; a new page shows the first."""


def example(name: str) -> Example:
    """The example of that name.

    Raises:
        InvalidValueError: there is none.
    """
    for each in EXAMPLES:
        if each.name == name:
            return each
    raise InvalidValueError(
        f"There is no example picture {printable(name, 60)!r}; use one of {', '.join(each.name for each in EXAMPLES)}."
    )
