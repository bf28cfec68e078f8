"""Layouts of clips: how the tower's tokens of frames become visual tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.hf.encoding import Encoding, pool_square, square_place
from todre.hf.keywords import VIDEO_PIXELS
from todre.tensors.token_facts import Place, TokenFacts


def frames(encoding: Encoding) -> list[TokenFacts]:
    """The layout of clips as one entry each: equal frames, in raster order.

    Each frame's grid is pooled from the tower's.
    """
    return _clips(encoding, closing=0)


def frames_with_newline(encoding: Encoding) -> list[TokenFacts]:
    """The layout `frames`, with one newline token at the end of each clip."""
    return _clips(encoding, closing=1)


def frames_with_cls(encoding: Encoding) -> list[TokenFacts]:
    """The layout of clips whose frames are separate entries, with all tower tokens.

    The facts of a clip's frames are joined into one entry, and the frames are numbered from 0.
    """
    pixels = encoding.arguments.get(VIDEO_PIXELS)
    count = int(pixels.shape[1]) if isinstance(pixels, Tensor) and pixels.ndim == 5 else 1
    tiles = encoding.tiles()
    clips, leading = [], encoding.leading  # none is dropped of clips
    for first in range(0, len(encoding.lengths), count):
        known, frame, places = [], [], []
        for place, length in enumerate(encoding.lengths[first : first + count]):
            own = encoding.unknown(length)
            if len(tiles) == len(encoding.lengths):
                own[leading:] = tiles[first + place].to(encoding.device)
            known.append(own)
            frame.append(torch.full((length,), place, dtype=torch.long, device="cpu"))
            places += [Place.unknown(leading), square_place(length - leading)]
        values = torch.cat(known) if len(tiles) == len(encoding.lengths) else None
        clips.append(encoding.facts(values, Place.cat(places), torch.cat(frame)))
    return clips


def _clips(encoding: Encoding, closing: int) -> list[TokenFacts]:
    """Token facts of clips with one entry each.

    Args:
        encoding: the call that encoded the clips.
        closing: newline tokens at the end of each clip.
    """
    pixels = encoding.arguments.get(VIDEO_PIXELS)
    tiles = encoding.tiles()
    clips = len(encoding.lengths)
    count = int(pixels.shape[1]) if isinstance(pixels, Tensor) and pixels.ndim == 5 else 1
    facts = []
    for clip, length in enumerate(encoding.lengths):
        per_frame = (length - closing) // count
        known, filled = encoding.unknown(length), False
        if len(tiles) == clips * count:
            mine = [
                pool_square(tile.to(encoding.device), per_frame) for tile in tiles[clip * count : (clip + 1) * count]
            ]
            for number, part in enumerate(mine):
                if part is not None:
                    known[number * per_frame : (number + 1) * per_frame], filled = part, True
        frame = torch.arange(length, dtype=torch.int64, device="cpu") // per_frame
        tile = torch.zeros(length, dtype=torch.long, device="cpu")
        places = [square_place(per_frame)] * count
        if closing:
            frame[-closing:], tile[-closing:] = -1, -1
            places.append(Place.unknown(closing))
        facts.append(encoding.facts(known if filled else None, Place.cat(places), frame, tile))
    return facts
