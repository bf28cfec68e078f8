"""What each frame of an animation shows; how it is drawn is said elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from todre.geometry import TokenBox


@dataclass(frozen=True)
class OrderFrame:
    """A moment of the choice before the LLM.

    Attributes:
        kept: the tokens chosen so far, in the order of choosing; indices into the picture's boxes.
        fresh: number of tokens, the last of `kept`, that the frame before did not have.
        radius: coverage radius: 1 minus the cosine of the worst covered token with the nearest chosen one.
    """

    kept: tuple[int, ...]
    fresh: int
    radius: float


@dataclass(frozen=True)
class BudgetFrame:
    """One budget, and what the model answered with it.

    Attributes:
        budget: the budget as text, such as "10 %" or "288".
        kept: the tokens that reached the deepest layers; indices into the picture's boxes.
        answer: the model's answer.
        changed: whether the answer differs from that of the frame before.
    """

    budget: str
    kept: tuple[int, ...]
    answer: str
    changed: bool


@dataclass(frozen=True)
class LayerFrame:
    """One layer of the decoder.

    Attributes:
        layer: 1-based; 0 stands for the tokens before anything was dropped.
        kept: the tokens that the layer ran on; indices into the picture's boxes.
        tokens: number of visual tokens that the layer ran on.
    """

    layer: int
    kept: tuple[int, ...]
    tokens: int


Frame = OrderFrame | BudgetFrame | LayerFrame


@dataclass(frozen=True)
class Animation:
    """A picture, a question about it, and what every frame shows.

    Attributes:
        picture: the picture.
        boxes: rectangles of all its visual tokens.
        method: the method's name.
        question: the question.
        answer: the answer where it is the same in all frames; "" where each frame has its own.
        frames: all of one kind, in order.
    """

    picture: Image.Image
    boxes: Sequence[TokenBox]
    method: str
    question: str
    answer: str
    frames: Sequence[Frame]
