"""Options of `todre serve`: where it listens, and what it takes from clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli.console import note
from todre.cli.option_records import OptionRecord
from todre.cli.options import NewTokens
from todre.cli.parsers import MOST

if TYPE_CHECKING:
    from todre.serve.limits import Limits

KEY = "TODRE_API_KEY"
"""Environment variable that holds the API key.

Other users of the machine can see a key on a command line.
"""


def parse_text(text: str) -> str:
    """Parse a name or a key: printable, not empty, without blanks."""
    if not text or not text.isascii() or not text.isprintable() or " " in text or len(text) > 300:
        raise typer.BadParameter("give a text of at most 300 ASCII characters without blanks, and not an empty one.")
    return text


Host = Annotated[
    str,
    typer.Option(
        "--host", parser=parse_text, metavar="NAME", help="Where to listen; 0.0.0.0 for all addresses of this machine."
    ),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 takes a free one.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        parser=parse_text,
        metavar="KEY",
        envvar=KEY,
        show_envvar=False,
        help=f"Key that clients must send. Without it, that of the variable {KEY}, or none.",
    ),
]
ServedName = Annotated[
    str | None,
    typer.Option(
        "--name", parser=parse_text, metavar="NAME", help="Name that clients ask by. Without it, MODEL as it is typed."
    ),
]
MaxPictures = Annotated[
    int, typer.Option("--max-pictures", min=1, max=MOST, help="Most pictures of a request, earlier turns included.")
]
MaxMegapixels = Annotated[
    int, typer.Option("--max-megapixels", min=1, max=64, help="Largest picture, in millions of pixels.")
]
MaxWaiting = Annotated[
    int, typer.Option("--max-waiting", min=0, max=MOST, help="Most requests that wait; further ones are answered 503.")
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http-pictures", help="Fetch pictures at public http and https addresses; without it only data: URLs."
    ),
]


@dataclass(frozen=True)
class PlaceOptions(OptionRecord):
    """Options that say where a server listens, and who may ask."""

    host: Host = "127.0.0.1"
    port: Port = 8000
    name: ServedName = None
    api_key: ApiKey = None

    def warn_if_open(self, quiet: bool, has_key: bool = False) -> None:
        """Say that anybody who reaches the machine can ask, where that is so.

        Args:
            quiet: say nothing.
            has_key: whether the server has a key from elsewhere.
        """
        from todre.serve.gate import is_loopback

        if self.api_key is None and not has_key and not is_loopback(self.host):
            note(
                f"anybody who can reach {self.host} can use this server; set --api-key, or listen at 127.0.0.1.", quiet
            )


@dataclass(frozen=True)
class LimitOptions(OptionRecord):
    """Options that say what a server takes from clients."""

    max_new_tokens: NewTokens = 1024
    max_pictures: MaxPictures = 16
    max_megapixels: MaxMegapixels = 32
    max_waiting: MaxWaiting = 256
    allow_http_pictures: AllowHttp = False

    def limits(self) -> Limits:
        """The limits, as the server has them."""
        from todre.inputs.http_pictures import FetchRules
        from todre.serve.limits import Limits

        return Limits(
            max_new_tokens=self.max_new_tokens,
            max_pictures=self.max_pictures,
            max_pixels=self.max_megapixels * 1_000_000,
            max_waiting=self.max_waiting,
            http_pictures=FetchRules() if self.allow_http_pictures else None,
        )
