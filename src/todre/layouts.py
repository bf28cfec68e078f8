"""How a vision tower's tokens become visual tokens: one function for each layout that families have.

A model encodes media as entries (pictures, tiles or clips). A layout says for each entry what its visual tokens are,
and carries the tower's saliency over: pooled where tokens are pooled, reordered where they are reordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from todre.compat import vision_window_index
from todre.facts import TokenFacts


@dataclass(frozen=True)
class Encoding:
    """One call of `get_image_features` or `get_video_features`.

    Attributes:
        base: the module whose method was called.
        config: the model's config.
        arguments: what the method was given, by name.
        lengths: visual tokens of each entry that came back.
        saliency: (tiles, tokens) float32 for each call of the watched attention, [CLS] left out; empty if none.
        keeps_cls: whether the tower's [CLS] stays among the visual tokens.
        device: of the features.
    """

    base: Any
    config: Any
    arguments: dict[str, Any]
    lengths: list[int]
    saliency: list[Tensor]
    keeps_cls: bool
    device: torch.device

    def tiles(self) -> list[Tensor]:
        """The saliency of each tile, (tokens,)."""
        return [row for call in self.saliency for row in call]

    def stream(self) -> Tensor | None:
        """The saliency of all tokens of a tower that packs its media into one sequence, (tokens,)."""
        return torch.cat([call.flatten() for call in self.saliency]).to(self.device) if self.saliency else None


Layout = Callable[[Encoding], list[TokenFacts]]


def opaque(encoding: Encoding) -> list[TokenFacts]:
    """Tokens that come from no single place (a resampler), or whose place is not known: no saliency."""
    return [TokenFacts.plain(None, length, encoding.device) for length in encoding.lengths]


def grid(encoding: Encoding) -> list[TokenFacts]:
    """Tokens in raster order, each from a square block of a tile's tower tokens; an entry is one tile or several."""
    tiles = encoding.tiles()
    total = sum(encoding.lengths)
    per_tile = total // len(tiles) if tiles and total % len(tiles) == 0 else 0
    facts, done = [], 0
    for length in encoding.lengths:
        known = torch.full((length,), torch.nan, device=encoding.device)
        if per_tile and length % per_tile == 0:
            extra = 1 if encoding.keeps_cls else 0
            for start in range(0, length, per_tile):
                part = pooled(tiles[done].to(encoding.device), per_tile - extra)
                if part is not None:
                    known[start + extra : start + per_tile] = part
                done += 1
        facts.append(TokenFacts.plain(known, length, encoding.device))
    return facts


def rasters(encoding: Encoding) -> list[TokenFacts]:
    """Pictures of any shape packed into one sequence, each in raster order, perhaps merged in squares (Pixtral)."""
    stream = encoding.stream()
    sizes = encoding.arguments.get("image_sizes")
    patch = encoding.config.vision_config.patch_size
    facts, start = [], 0
    for index, length in enumerate(encoding.lengths):
        known = None
        if stream is not None and sizes is not None:
            rows, columns = (int(side) // patch for side in sizes[index])
            merge = math.isqrt(rows * columns // length)
            if rows * columns == length * merge**2:
                square = stream[start : start + rows * columns].view(1, 1, rows, columns)
                known = functional.avg_pool2d(square, merge).flatten()
            start += rows * columns
        facts.append(TokenFacts.plain(known, length, encoding.device))
    return facts


def merged(encoding: Encoding) -> list[TokenFacts]:
    """Media packed into one sequence, each token from consecutive tower tokens, perhaps permuted into windows."""
    grids = _grids(encoding)
    stream = encoding.stream()
    total = sum(encoding.lengths)
    if stream is not None and len(stream) % total == 0:
        stream = stream.view(total, -1).mean(dim=1)
        order = _window_order(encoding, grids)
        if order is not None:
            stream = stream[order.to(stream.device)]
    else:
        stream = None
    facts, start = [], 0
    for length, (frames, _, _) in zip(encoding.lengths, grids, strict=True):
        part = stream[start : start + length] if stream is not None else None
        plain = TokenFacts.plain(part, length, encoding.device)
        frame = torch.arange(length, device=encoding.device) // max(length // max(frames, 1), 1)
        facts.append(TokenFacts(plain.saliency, plain.tile, frame.clamp(max=max(frames - 1, 0))))
        start += length
    return facts


def frames(encoding: Encoding) -> list[TokenFacts]:
    """One entry for each clip; the same grid for each frame, in raster order, pooled from the tower's."""
    return _clips(encoding, closing=0)


def frames_with_newline(encoding: Encoding) -> list[TokenFacts]:
    """Like `frames`, with one newline token at the end of each clip."""
    return _clips(encoding, closing=1)


def frames_with_cls(encoding: Encoding) -> list[TokenFacts]:
    """One entry for each frame, whose [CLS] is its first token; frames of one clip are numbered."""
    pixels = encoding.arguments.get("pixel_values_videos")
    count = int(pixels.shape[1]) if isinstance(pixels, Tensor) and pixels.ndim == 5 else 1
    tiles = encoding.tiles()
    clips = []
    for first in range(0, len(encoding.lengths), count):
        known, frame = [], []
        for place, length in enumerate(encoding.lengths[first : first + count]):
            saliency = torch.full((length,), torch.nan, device=encoding.device)
            if len(tiles) == len(encoding.lengths):
                saliency[1:] = tiles[first + place].to(encoding.device)
            known.append(saliency)
            frame.append(torch.full((length,), place, dtype=torch.long, device=encoding.device))
        numbers = torch.cat(frame)
        clips.append(TokenFacts(torch.cat(known), torch.zeros_like(numbers), numbers))
    return clips


def anyres(encoding: Encoding) -> list[TokenFacts]:
    """A thumbnail, then crops put together, unpadded, each row closed by a newline; laid out by the model itself."""
    sizes = encoding.arguments["image_sizes"]
    counts = _tiles_per_picture(encoding, sizes)
    vision = encoding.config.vision_config
    side = vision.image_size // vision.patch_size
    tiles = encoding.tiles()
    saliency = (
        torch.stack(tiles).to(encoding.device)
        if len(tiles) == sum(counts)
        else torch.full((sum(counts), side**2), torch.nan, device=encoding.device)
    )
    number = torch.cat([torch.arange(count, device=encoding.device) for count in counts])
    marks = torch.stack([saliency, number[:, None].expand_as(saliency).float()], dim=-1)
    if encoding.keeps_cls:
        cls_mark = torch.stack([torch.full_like(number, torch.nan, dtype=torch.float), number.float()], dim=-1)
        marks = torch.cat([cls_mark[:, None], marks], dim=1)
    newline = torch.tensor([torch.nan, -1.0], device=encoding.device)
    name = (
        "vision_aspect_ratio" if hasattr(encoding.config, "vision_aspect_ratio") else "vision_feature_select_strategy"
    )
    options = {name: encoding.arguments.get(name) or getattr(encoding.config, name)}
    packed, _ = encoding.base.pack_image_features(list(marks.split(counts)), sizes, image_newline=newline, **options)
    return [_anyres_facts(mark) for mark in packed]


def _anyres_facts(mark: Tensor) -> TokenFacts:
    """Tile numbers come back blended where a model shrinks the grid of crops; the nearest one is meant."""
    tile = mark[:, 1].round().long()
    return TokenFacts(mark[:, 0].contiguous(), tile, torch.zeros_like(tile))


def _clips(encoding: Encoding, closing: int) -> list[TokenFacts]:
    pixels = encoding.arguments.get("pixel_values_videos")
    tiles = encoding.tiles()
    clips = len(encoding.lengths)
    count = int(pixels.shape[1]) if isinstance(pixels, Tensor) and pixels.ndim == 5 else 1
    facts = []
    for clip, length in enumerate(encoding.lengths):
        per_frame = (length - closing) // count
        saliency = torch.full((length,), torch.nan, device=encoding.device)
        if len(tiles) == clips * count:
            mine = [pooled(tile.to(encoding.device), per_frame) for tile in tiles[clip * count : (clip + 1) * count]]
            for number, part in enumerate(mine):
                if part is not None:
                    saliency[number * per_frame : (number + 1) * per_frame] = part
        frame = torch.arange(length, device=encoding.device) // per_frame
        tile = torch.zeros(length, dtype=torch.long, device=encoding.device)
        if closing:
            frame[-closing:], tile[-closing:] = -1, -1
        facts.append(TokenFacts(saliency, tile, frame))
    return facts


def pooled(saliency: Tensor, n: int) -> Tensor | None:
    """Means of a square grid of tower tokens (t,) over the squares that make `n` tokens, (n,); None if none do."""
    tower, side = math.isqrt(len(saliency)), math.isqrt(n)
    if n == len(saliency):
        return saliency
    if side * side != n or tower * tower != len(saliency):
        return None
    square = saliency.view(1, 1, tower, tower)
    return functional.adaptive_avg_pool2d(square, (side, side)).flatten()


def _with_cls(saliency: Tensor | None, extra: int) -> Tensor | None:
    if saliency is None or not extra:
        return saliency
    return torch.cat([saliency.new_full((extra,), torch.nan), saliency])


def _grids(encoding: Encoding) -> list[tuple[int, int, int]]:
    """(frames, rows, columns) in patches of each entry."""
    for name in ("image_grid_thw", "video_grid_thw", "image_grid_hws", "grid_thw", "grid_thws"):
        given = encoding.arguments.get(name)
        if given is not None:
            rows = [[int(number) for number in row] for row in torch.as_tensor(given).tolist()]
            grids = [(row[0], row[1], row[2]) if len(row) == 3 else (1, row[0], row[1]) for row in rows]
            if len(grids) == len(encoding.lengths):
                return grids
    return [(1, 1, length) for length in encoding.lengths]


def _window_order(encoding: Encoding, grids: list[tuple[int, int, int]]) -> Tensor | None:
    """Places in the tower's order of the visual tokens, for towers that permute their tokens into windows."""
    config = encoding.config.vision_config
    window = getattr(config, "window_size", None)
    if not window:
        return None
    index, _ = vision_window_index(torch.tensor(grids), config.spatial_merge_size, window, config.patch_size)
    return torch.argsort(index)


def _tiles_per_picture(encoding: Encoding, sizes: Any) -> list[int]:
    """Tiles of each picture; a picture that shares its sample with others may have one alone (OneVision)."""
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    config = encoding.config
    counts = [
        int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
        for size in sizes
    ]
    together = encoding.arguments.get("batch_num_images")
    if together is None:
        return counts
    alone = [int(number) == 1 for number in together for _ in range(int(number))]
    return [count if cut else 1 for count, cut in zip(counts, alone, strict=True)]
