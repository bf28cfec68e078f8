"""Pictures of a request, fetched or decoded within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from PIL import Image

from todre.errors import ImageError
from todre.images import decode_image
from todre.inputs.data_urls import is_data_url, read_data_url
from todre.inputs.http_pictures import FetchRules, fetch_picture
from todre.serve.answering import Turn
from todre.serve.messages import Message, PictureLink
from todre.serve.refusals import RefusedError

Fetched = dict[str, bytes]
"""Files of pictures by their address."""
TOGETHER = 3
"""How many times the pixels of a picture all pictures of a request may have."""


def fetch_all(messages: Sequence[Message], rules: FetchRules, take: Callable[[int], None]) -> Fetched:
    """The files of pictures at web addresses, each fetched once.

    All of them have `rules.together` seconds.

    Args:
        messages: texts and links.
        rules: what may be fetched.
        take: called with the size of each piece before it is kept; what it raises ends the fetching.

    Raises:
        RefusedError: a picture cannot be fetched.
    """
    found: Fetched = {}
    until = time.monotonic() + rules.together
    for link in _links(messages):
        if is_data_url(link.url) or link.url in found:
            continue
        take(0)
        try:
            found[link.url] = fetch_picture(link.url, rules, until, take)
        except ImageError as error:
            raise RefusedError(str(error), param=link.param, code="invalid_image") from error
    return found


def read_turns(messages: Sequence[Message], fetched: Fetched, max_pixels: int) -> tuple[Turn, ...]:
    """The conversation with its pictures decoded.

    Args:
        messages: texts and links.
        fetched: files of pictures at web addresses.
        max_pixels: largest picture, in pixels; all pictures together may have `TOGETHER` times as many.

    Raises:
        RefusedError: a picture cannot be read or is too large, or all of them together are.
    """
    left = max_pixels * TOGETHER
    turns = []
    for message in messages:
        parts: list[str | Image.Image] = []
        for part in message.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            picture = _read(part, fetched, max_pixels)
            left -= picture.width * picture.height
            if left < 0:
                raise RefusedError(
                    f"The pictures of the request have more than {max_pixels * TOGETHER:,} pixels together; scale them "
                    "down first, no model looks at that many.",
                    param=part.param,
                    code="invalid_image",
                )
            parts.append(picture)
        turns.append(Turn(role=message.role, parts=tuple(parts)))
    return tuple(turns)


def _links(messages: Sequence[Message]) -> list[PictureLink]:
    return [part for message in messages for part in message.parts if isinstance(part, PictureLink)]


def _read(link: PictureLink, fetched: Fetched, most: int) -> Image.Image:
    try:
        if is_data_url(link.url):
            return read_data_url(link.url, most)
        return decode_image(fetched[link.url], "The picture of the web address", most)
    except ImageError as error:
        raise RefusedError(str(error), param=link.param, code="invalid_image") from error
