"""Layouts of pictures: how a vision tower's tokens become visual tokens.

A model encodes media as entries (pictures, tiles or clips). A layout says for each entry where in its raster each
visual token stands, and carries the tower's signals over: pooled where tokens are pooled, reordered where they are
reordered. AnyRes pictures are in `hf/anyres.py`, clips in `hf/clip_layouts.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from todre.hf.encoding import Encoding, pool_square, square_place
from todre.hf.keywords import GRIDS, IMAGE_GRIDS, SIZES, VIDEO_GRIDS
from todre.hf.versions import window_order
from todre.tensors.token_facts import Place, TokenFacts
from todre.tensors.transfer import upload

_GRID_NAMES = (IMAGE_GRIDS, VIDEO_GRIDS, "image_grid_hws", GRIDS, "grid_thws")
"""Names under which models take the sizes of pictures and clips in patches."""


def opaque(encoding: Encoding) -> list[TokenFacts]:
    """The layout of tokens at unknown places, as after a resampler; without signals."""
    return [encoding.facts(None, Place.unknown(length)) for length in encoding.lengths]


def grid(encoding: Encoding) -> list[TokenFacts]:
    """The layout of tiles in raster order, each token from a square of tower tokens.

    An entry holds one tile or several.
    """
    tiles = encoding.tiles()
    total = sum(encoding.lengths)
    per_tile = total // len(tiles) if tiles and total % len(tiles) == 0 else 0
    facts, done = [], 0
    for length in encoding.lengths:
        known, filled, place = encoding.unknown(length), False, Place.unknown(length)
        if per_tile and length % per_tile == 0:
            extra, lost = max(encoding.extra, 0), max(-encoding.extra, 0)
            places = []
            for start in range(0, length, per_tile):
                part = pool_square(tiles[done].to(encoding.device), per_tile - encoding.extra)
                if part is not None:
                    known[start + extra : start + per_tile], filled = part[lost:], True
                whole = square_place(per_tile - encoding.extra)
                places += [Place.unknown(extra), Place(whole.row[lost:], whole.column[lost:])]
                done += 1
            place = Place.cat(places)
        facts.append(encoding.facts(known if filled else None, place))
    return facts


def rasters(encoding: Encoding) -> list[TokenFacts]:
    """The layout of pictures of any shape in raster order, packed in one sequence.

    Squares of patches may be merged (Pixtral).
    """
    stream = encoding.stream()
    sizes = encoding.arguments.get(SIZES)
    patch = encoding.config.vision_config.patch_size
    facts, start = [], 0
    for index, length in enumerate(encoding.lengths):
        known, place = None, Place.unknown(length)
        if sizes is not None:
            rows, columns = (int(side) // patch for side in sizes[index])
            merge = math.isqrt(rows * columns // length)
            if rows * columns == length * merge**2:
                place = Place.raster(rows // merge, columns // merge)
                if stream is not None:
                    square = stream[start : start + rows * columns].view(rows, columns, -1).permute(2, 0, 1)[None]
                    known = functional.avg_pool2d(square, merge)[0].flatten(1).T if square.shape[1] else None
            start += rows * columns
        facts.append(encoding.facts(known, place))
    return facts


def packed_sequence(encoding: Encoding) -> list[TokenFacts]:
    """The layout of media in one sequence, each token from consecutive tower tokens.

    The tower may permute them into windows (Qwen-VL).
    """
    grids = _grids(encoding)
    stream = encoding.stream()
    total = sum(encoding.lengths)
    if stream is not None and len(stream) % total == 0:
        stream = stream.view(total, len(stream) // total, encoding.channels).mean(dim=1)
        order = _window_order(encoding, grids)
        if order is not None:
            stream = stream[upload(order, stream.device)]
    else:
        stream = None
    facts, start = [], 0
    for length, (frames, rows, columns) in zip(encoding.lengths, grids, strict=True):
        part = stream[start : start + length] if stream is not None else None
        frame = torch.arange(length, dtype=torch.int64, device="cpu") // max(length // max(frames, 1), 1)
        place = Place.unknown(length)
        merge = math.isqrt(frames * rows * columns // length)
        if frames * rows * columns == length * merge**2 and rows % merge == 0 and columns % merge == 0 and rows > 1:
            place = Place.cat([Place.raster(rows // merge, columns // merge)] * frames)
        facts.append(encoding.facts(part, place, frame.clamp(max=max(frames - 1, 0))))
        start += length
    return facts


def _grids(encoding: Encoding) -> list[tuple[int, int, int]]:
    """Size of each entry in patches, as (frames, rows, columns)."""
    for name in _GRID_NAMES:
        sizes = encoding.arguments.get(name)
        if sizes is not None:
            rows = torch.as_tensor(sizes, device="cpu", dtype=torch.int64).tolist()
            grids = [(row[0], row[1], row[2]) if len(row) == 3 else (1, row[0], row[1]) for row in rows]
            if len(grids) == len(encoding.lengths):
                return grids
    return [(1, 1, length) for length in encoding.lengths]


def _window_order(encoding: Encoding, grids: list[tuple[int, int, int]]) -> Tensor | None:
    """Places of the visual tokens in the tower's order; None without windows."""
    config = encoding.config.vision_config
    window = getattr(config, "window_size", None)
    if not window:
        return None
    return torch.argsort(window_order(grids, config.spatial_merge_size, window, config.patch_size))
