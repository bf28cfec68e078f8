"""Facts about each visual token, known while a picture or clip is encoded: saliency, tile, frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("image", "video")


@dataclass(frozen=True)
class TokenFacts:
    """Per visual token of one medium as the model encodes it (a picture, a tile or a clip), in sequence order.

    Attributes:
        saliency: (n,) float32, higher is more salient; NaN at newline tokens and where none is known.
        tile: (n,) int64, 0 for the thumbnail or the only tile, 1.. for crops; -1 at newline tokens.
        frame: (n,) int64, the step in time of a clip's tokens, from 0; -1 at tokens of no single frame; 0 in pictures.
    """

    saliency: Tensor
    tile: Tensor
    frame: Tensor

    def __len__(self) -> int:
        return int(self.tile.shape[0])

    @property
    def newline(self) -> Tensor:
        """(n,) bool."""
        return self.tile < 0

    @classmethod
    def plain(cls, saliency: Tensor | None, n: int, device: torch.device) -> TokenFacts:
        """`n` tokens of one tile without newlines."""
        zero = torch.zeros(n, dtype=torch.long, device=device)
        known = saliency if saliency is not None else torch.full((n,), torch.nan, device=device)
        return cls(known.float(), zero, zero)


@dataclass(frozen=True)
class SaliencyRequest:
    """Which saliency a method wants to see.

    Attributes:
        kind: `cls`: attention of the [CLS] token; `received`: mean attention received; `auto`: the first of these that
            the vision tower offers, or none.
        layer: the tower's layer, counted as Python does.
    """

    kind: str
    layer: int = -1
