"""The record that a method is shown before the LLM: one sample's visual tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.tensors.token_facts import STROKES, Signal
from todre.tensors.transfer import fetch, upload

WRITTEN = 0.1
"""Share of a token's pixels on thin strokes from which it counts as text."""


@dataclass(frozen=True)
class Places:
    """Where visual tokens stand, on the host; see `VisualTokens`.

    Attributes:
        newline, tile, picture, frame, row, column: (n,), see `VisualTokens`.
        known: (n,) bool, tokens for which some requested signal of the vision tower is known.
    """

    newline: Tensor
    tile: Tensor
    picture: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor
    known: Tensor

    @property
    def pivots(self) -> Tensor:
        """Tokens that may be the pivot, (n,) bool.

        These are the tokens of thumbnails and of pictures with a single tile; all tokens if all are newline tokens.
        """
        return (self.tile == 0) if bool((self.tile >= 0).any()) else torch.ones_like(self.newline)

    def take(self, index: Tensor) -> Places:
        """The tokens at `index`, on the host."""
        return Places(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of one sample, over all its media, in sequence order.

    All tensors are on the device of the embeddings; `host` holds the places as tensors that can be read without
    waiting.

    Attributes:
        embeddings: (n, d) projected embeddings, in the LLM's space.
        signals: values of each requested signal, (n,) or (n, c) float32; NaN at newline tokens and where the signal is
            unknown.
        newline: (n,) bool, newline tokens of AnyRes layouts.
        tile: (n,) int64, 0 for a thumbnail or only tile, 1.. for crops, -1 for newline tokens.
        picture: (n,) int64, 0-based number of the token's picture or clip within the sample. If a model encodes the
            tiles of a picture as separate pictures, each tile counts.
        frame: (n,) int64, 0-based step in time of a clip's tokens; -1 at tokens that belong to no single frame; 0 in
            pictures.
        row, column: (n,) int64, 0-based place in the token's raster (a thumbnail, a picture's united crops, a frame);
            -1 where unknown. Places are known if the method requests any signal, for example `Signal("grid")`, and the
            model's tokens stand in a grid.
        text: (t, d) embeddings of the sample's text after its first visual token.
        places: where the tokens stand, as tensors on the host; None if they are only on the device.
    """

    embeddings: Tensor
    signals: Mapping[Signal, Tensor]
    newline: Tensor
    tile: Tensor
    picture: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor
    text: Tensor
    places: Places | None = None

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def device(self) -> torch.device:
        """Device of the tokens."""
        return self.embeddings.device

    @property
    def host(self) -> Places:
        """Where tokens stand, on the host.

        The device is read only if another method chose tokens before.
        """
        if self.places is not None:
            return self.places
        known = torch.zeros_like(self.newline)
        for values in self.signals.values():
            known = known | ~values.isnan().view(len(values), -1).all(dim=1)
        return Places(*fetch([self.newline, self.tile, self.picture, self.frame, self.row, self.column, known]))

    @property
    def pivots(self) -> Tensor:
        """Tokens that may be the pivot, (n,) bool.

        These are the tokens of thumbnails and of pictures with a single tile; all tokens if all are newline tokens.
        """
        return self.here(self.host.pivots)

    @property
    def saliency(self) -> Tensor:
        """The first signal of the tower with one number per token, (n,) float32.

        All values are NaN if the method requested no such signal.
        """
        for request, values in self.signals.items():
            if values.ndim == 1 and request != STROKES:
                return values
        return torch.full((len(self),), torch.nan, device=self.tile.device, dtype=torch.float32)

    @property
    def text_share(self) -> float | None:
        """Share of the tokens with thin strokes on at least a tenth of their pixels.

        Thumbnails of pictures with crops are left aside: made smaller, much else is thin.

        Returns:
            From 0 to 1; None where strokes were not requested or are not known. The host waits for the device.
        """
        values = self.signals.get(STROKES)
        if values is None:
            return None
        crops = self.host.tile > 0
        values = values[self.here(crops.nonzero().flatten())] if bool(crops.any()) else values
        known = ~values.isnan()
        found, of = fetch([(known & (values >= WRITTEN)).sum(), known.sum()])
        return int(found) / int(of) if int(of) else None

    @property
    def known(self) -> bool:
        """True if a signal is known for some token."""
        return bool(self.signals) and bool(self.host.known.any())

    def signal(self, request: Signal) -> Tensor:
        """Values of a requested signal, NaN at newline tokens.

        Returns:
            (n,) or (n, c) float32.

        Raises:
            UnsupportedInputError: the signal is unknown for all tokens.
        """
        values = self.signals.get(request)
        if values is None or not self.known:
            raise UnsupportedInputError(
                f"No {request.kind} signal is known for these pictures; encode pictures inside todre.prune(...), or "
                "use a method that does not need it."
            )
        return values

    def here(self, x: Tensor) -> Tensor:
        """`x` moved from the host to the device of the tokens, without waiting."""
        return upload(x, self.device)

    def take(self, index: Tensor) -> VisualTokens:
        """The visual tokens at `index`, with the same text.

        Args:
            index: (m,) int64 or bool; if it is on the host, the device is not read.
        """
        places = self.places
        if index.device.type == "cpu":
            index = index.nonzero().flatten() if index.dtype == torch.bool else index
            places = None if places is None else places.take(index)
            index = self.here(index)
        else:
            places = None
        return VisualTokens(
            embeddings=self.embeddings[index],
            signals={request: values[index] for request, values in self.signals.items()},
            newline=self.newline[index],
            tile=self.tile[index],
            picture=self.picture[index],
            frame=self.frame[index],
            row=self.row[index],
            column=self.column[index],
            text=self.text,
            places=places,
        )

    def with_embeddings(self, embeddings: Tensor) -> VisualTokens:
        """The same tokens with other embeddings (n, d)."""
        return dataclasses.replace(self, embeddings=embeddings)


@dataclass(frozen=True)
class Selection:
    """A method's answer before the LLM when it changes embeddings.

    Attributes:
        keep: (n,) bool, or (k,) int64 ascending indices, the kept tokens.
        embeddings: (n, d), read at kept tokens alone.
    """

    keep: Tensor
    embeddings: Tensor
