"""What a server takes from its clients."""

from __future__ import annotations

from dataclasses import dataclass

from todre.fields import Checked
from todre.fields.kinds import Count, Natural
from todre.inputs.http_pictures import FetchRules


@dataclass(frozen=True, kw_only=True)
class Limits(Checked):
    """Limits of requests.

    Attributes:
        max_new_tokens: longest answer, in tokens; also the length where a request does not say it.
        max_pictures: most pictures of a request, earlier turns included.
        max_pixels: largest picture, in pixels; all pictures of a request may have three times as many.
        max_waiting: most requests that wait for their turn; further ones are answered 503.
        max_body: largest request, in bytes, together with the files that are fetched for it.
        max_held: bytes of requests and fetched files that are held at the same time; further ones are answered 503.
        max_text: most characters of a request's texts.
        prepared: requests whose pictures are decoded at the same time, the running one included.
        http_pictures: rules for pictures at web addresses; None refuses these.
    """

    max_new_tokens: Count = 1024
    max_pictures: Count = 16
    max_pixels: Count = 32_000_000
    max_waiting: Natural = 256
    max_body: Count = 64 * 2**20
    max_held: Count = 2**30
    max_text: Count = 1_000_000
    prepared: Count = 3
    http_pictures: FetchRules | None = None
