"""What a visitor asks for, as a record and as the parameters of a link."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from todre.errors import InvalidValueError
from todre.fields.texts import number_of
from todre.files import printable
from todre.methods import registry
from todre.page.examples import EXAMPLES, example

MOST_METHODS = 4
MOST_QUESTION = 2000
"""Longest question, in characters."""
FRAMES, MOST_FRAMES = 8, 32
"""Frames that are taken of a clip if nothing is said, and most that can be."""
LEAST_SHARE = 0.01
"""Smallest share that can be kept."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Settings of one request.

    Attributes:
        question: plain text.
        methods: one to four names of methods, each once.
        share: share of the visual tokens to keep, for methods that have a budget.
        picture: name of an example; "" for the visitor's own picture.
        frames: frames to take, where the visitor's own file is a clip.

    Raises:
        InvalidValueError: a value cannot be used.
        UnknownMethodError: a method is unknown.
    """

    question: str = EXAMPLES[0].question
    methods: tuple[str, ...] = ("none", "todre", "random")
    share: float = 0.1
    picture: str = EXAMPLES[0].name
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise InvalidValueError("The question is empty; ask something about the picture.")
        if len(self.question) > MOST_QUESTION:
            raise InvalidValueError(
                f"The question has {len(self.question):,} characters, and at most {MOST_QUESTION:,} are read; ask a "
                "shorter one."
            )
        if not 1 <= len(self.methods) <= MOST_METHODS:
            raise InvalidValueError(
                f"{len(self.methods)} methods are chosen, and from one to {MOST_METHODS} are shown side by side; "
                "choose some of them."
            )
        if len(set(self.methods)) < len(self.methods):
            raise InvalidValueError(f"The methods {', '.join(self.methods)} name one twice; name each once.")
        for name in self.methods:
            if registry.entry(name).name not in registry.names():
                raise InvalidValueError(f"The method {name!r} is made of others, which the page cannot name.")
        if not (math.isfinite(self.share) and LEAST_SHARE <= self.share <= 1):
            raise InvalidValueError(
                f"The share kept is {self.share:g}; keep between {LEAST_SHARE:g} and 1 of the visual tokens."
            )
        if self.picture:
            example(self.picture)
        check_frames(self.frames)

    def query(self) -> str:
        """The parameters of a link to this request.

        A visitor's own picture or clip is not in it, because a link cannot hold one.
        """
        values = {"question": self.question, "methods": ",".join(self.methods), "keep": f"{self.share:g}"}
        return urlencode(values | ({"picture": self.picture} if self.picture else {}))

    @staticmethod
    def of_query(parameters: Mapping[str, str]) -> Wish:
        """The request that a link's parameters describe.

        What they leave out is the default; parameters of other names are not the page's own.

        Raises:
            InvalidValueError: a value cannot be used.
            UnknownMethodError: a method is unknown.
        """
        wish = Wish()
        picture = parameters.get("picture", wish.picture)
        chosen = example(picture) if picture else EXAMPLES[0]
        methods = parameters.get("methods")
        names = wish.methods if methods is None else tuple(name.strip() for name in methods.split(",") if name.strip())
        return Wish(
            question=parameters.get("question", chosen.question),
            methods=names,
            share=_share(parameters["keep"]) if "keep" in parameters else wish.share,
            picture=picture,
        )


def share_of(percent: float | None) -> float:
    """The share that a number of percent stands for.

    Raises:
        InvalidValueError: there is no number.
    """
    if percent is None or not math.isfinite(percent):
        raise InvalidValueError("The share kept is no number; give percent of the visual tokens, such as 10.")
    return round(percent / 100, 6)


def check_frames(frames: float | None) -> int:
    """The number of frames to take of a clip.

    Raises:
        InvalidValueError: it is no whole number within the limits.
    """
    if frames is None or not 1 <= frames <= MOST_FRAMES or frames != int(frames):
        said = "not given" if frames is None else f"{frames:g}"
        raise InvalidValueError(f"The number of frames is {said}; take from 1 to {MOST_FRAMES} frames of a clip.")
    return int(frames)


def asks(parameters: Mapping[str, str]) -> bool:
    """Whether a link asks something, so that it is answered at once."""
    return "question" in parameters


def _share(text: str) -> float:
    value = number_of(text)
    if value is None:
        raise InvalidValueError(f"keep={printable(text, 60)!r} is no number; give a share such as 0.1.")
    return float(value)
