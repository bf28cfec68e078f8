"""Requests of a load run: a picture that is drawn from a number, and a question.

Equal numbers give equal requests, so that every configuration is asked the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from todre.bench.load.settings import LoadCell, LoadSettings
from todre.bench.random_checkpoint import random_words

Messages = list[dict[str, Any]]
Question = Callable[[int], str]
_PATCHES = 8
"""Rows and columns of random colours that a picture is blown up from."""
_WARM_UP = 1 << 40
"""First number of the requests that are not counted."""


@dataclass(frozen=True)
class Requests:
    """The requests of a run, by number.

    Attributes:
        settings: the run's settings.
        question: the text of a request, by its number.
    """

    settings: LoadSettings
    question: Question

    def of_round(self, cell: LoadCell, place: int, number: int) -> list[Messages]:
        """Requests of a round, made before its clock starts.

        Args:
            cell: the round's cell.
            place: the cell's place in the run.
            number: the round's number.
        """
        first = (place << 32) + (number << 20)
        different = cell.pictures or cell.requests
        drawn = [self._picture(first + one) for one in range(min(different, cell.requests))]
        return [self._messages(drawn[one % different], first + one) for one in range(cell.requests)]

    def warming_up(self) -> list[Messages]:
        """Requests before the first round."""
        numbers = range(_WARM_UP, _WARM_UP + self.settings.warm_up)
        return [self._messages(self._picture(number), number) for number in numbers]

    def _messages(self, picture: str, number: int) -> Messages:
        content = [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": self.question(number)},
        ]
        return [{"role": "user", "content": content}]

    def _picture(self, number: int) -> str:
        return picture_url(self.settings.picture, [self.settings.seed, number])


def picture_url(size: tuple[int, int], seed: list[int]) -> str:
    """A picture of soft random colours as a `data:` URL that holds a JPEG file.

    Args:
        size: (height, width) in pixels.
        seed: numbers that the picture is drawn from.
    """
    height, width = size
    colours = np.random.default_rng(seed).integers(0, 256, (_PATCHES, _PATCHES, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def words_of(settings: LoadSettings) -> Question:
    """Questions for a random checkpoint, each of the settings' number of words."""
    return lambda number: random_words(settings.text_tokens, [settings.seed, number])
