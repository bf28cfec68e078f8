"""What a method sees before the LLM: the visual tokens of one sample, and where each stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.tensors.token_facts import Signal
from todre.tensors.transfer import fetch, upload


@dataclass(frozen=True)
class Places:
    """Where visual tokens stand, on the host; see `VisualTokens`.

    Attributes:
        newline, tile, picture, frame, row, column: (n,).
        known: (n,) bool, tokens of which a signal of the vision tower is known, if one was asked for.
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
        """(n,) bool, tokens that may be the pivot: a thumbnail's, or all of a picture that has no thumbnail."""
        return (self.tile == 0) if bool((self.tile >= 0).any()) else torch.ones_like(self.newline)

    def take(self, index: Tensor) -> Places:
        """The tokens at `index`, on the host."""
        return Places(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of one sample, over all its pictures and clips, in sequence order.

    All tensors are on the device of the embeddings; `host` has where tokens stand where numbers can be read.

    Attributes:
        embeddings: (n, d) projected embeddings, in the LLM's space.
        signals: by request, (n,) or (n, c) float32; NaN at newline tokens and where the tower tells nothing.
        newline: (n,) bool, newline tokens of AnyRes layouts.
        tile: (n,) int64, 0 for a thumbnail or only tile, 1.. for crops, -1 for newline tokens.
        picture: (n,) int64, which of the sample's media a token belongs to, as the model encodes them: where it sees a
            picture as separate tiles, each counts.
        frame: (n,) int64, the step in time of a clip's tokens, -1 at tokens of no frame; 0 in pictures.
        row, column: (n,) int64, where in its raster (a thumbnail, a picture's united crops, a frame) a token stands; -1
            where that is not known. It is known wherever a method asks for a signal or for `Signal("grid")`, if the
            model has a grid.
        text: (t, d) embeddings of the sample's text after its first visual token.
        places: the same facts on the host; None where nobody knows them there.
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
        """Where the tokens are."""
        return self.embeddings.device

    @property
    def host(self) -> Places:
        """Where tokens stand, on the host. Read from the device after another method's choice, known otherwise."""
        if self.places is not None:
            return self.places
        known = torch.zeros_like(self.newline)
        for values in self.signals.values():
            known = known | ~values.isnan().view(len(values), -1).all(dim=1)
        return Places(*fetch([self.newline, self.tile, self.picture, self.frame, self.row, self.column, known]))

    @property
    def pivots(self) -> Tensor:
        """(n,) bool, tokens that may be the pivot: a thumbnail's, or all of a picture that has no thumbnail."""
        return self.here(self.host.pivots)

    @property
    def saliency(self) -> Tensor:
        """(n,) float32, the first signal of one number per token; NaN where a method asked for none."""
        for values in self.signals.values():
            if values.ndim == 1:
                return values
        return torch.full((len(self),), torch.nan, device=self.tile.device, dtype=torch.float32)

    @property
    def known(self) -> bool:
        """Whether a signal is known of any token."""
        return bool(self.signals) and bool(self.host.known.any())

    def signal(self, request: Signal) -> Tensor:
        """What is known for a request: (n,) or (n, c) float32, NaN at newline tokens.

        Raises:
            UnsupportedInputError: nothing is known of any token.
        """
        values = self.signals.get(request)
        if values is None or not self.known:
            raise UnsupportedInputError(
                f"No {request.kind} signal is known for these pictures; encode pictures inside todre.prune(...), or "
                "use a method that does not need it."
            )
        return values

    def here(self, x: Tensor) -> Tensor:
        """`x`, made on the host, where the tokens are; nothing waits for it."""
        return upload(x, self.device)

    def take(self, index: Tensor) -> VisualTokens:
        """The tokens at `index` (m,), int64 or bool; the text stays. An index on the host need not be read back."""
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
    """What a method that merges answers before the LLM.

    Attributes:
        keep: (n,) bool, or (k,) int64 distinct and ascending.
        embeddings: (n, d), in place of the embeddings of the tokens that are kept.
    """

    keep: Tensor
    embeddings: Tensor
