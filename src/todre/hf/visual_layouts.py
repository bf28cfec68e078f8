"""How a vision tower's tokens become visual tokens: one function for each layout that families have.

A model encodes media as entries (pictures, tiles or clips). A layout says for each entry what its visual tokens are,
where in its raster each stands, and carries the tower's signals over: pooled where tokens are pooled, reordered where
they are reordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from todre.hf.versions import window_order
from todre.tensors.token_facts import Place, Signal, TokenFacts
from todre.tensors.transfer import upload


@dataclass(frozen=True)
class Encoding:
    """One call of `get_image_features` or `get_video_features`.

    Attributes:
        base: the module whose method was called.
        config: the model's config.
        arguments: what the method was given, by name.
        lengths: visual tokens of each entry that came back.
        seen: (tiles, patches, c) float32 for each call of the watched tower, all signals side by side;
            empty if none was watched.
        widths: how many of the c belong to each signal, in order.
        leading: how many of the tower's tokens stand before its patches ([CLS], registers).
        dropped: how many of its first tokens the model leaves out of the visual tokens.
        device: of the features.
    """

    base: Any
    config: Any
    arguments: dict[str, Any]
    lengths: list[int]
    seen: list[Tensor]
    widths: dict[Signal, int]
    leading: int
    dropped: int
    device: torch.device

    @property
    def extra(self) -> int:
        """Tokens before the patches that stay among the visual tokens; below 0, so many first patches do not."""
        return self.leading - self.dropped

    @property
    def channels(self) -> int:
        """c, of all signals together."""
        return sum(self.widths.values())

    def tiles(self) -> list[Tensor]:
        """What was seen of each tile, (tokens, c)."""
        return [tile for call in self.seen for tile in call]

    def stream(self) -> Tensor | None:
        """What was seen of all tokens of a tower that packs its media into one sequence, (tokens, c)."""
        return torch.cat([call.flatten(0, 1) for call in self.seen]).to(self.device) if self.seen else None

    def unknown(self, n: int) -> Tensor:
        """(n, c) NaN."""
        return torch.full((n, self.channels), torch.nan, device=self.device, dtype=torch.float32)

    def facts(
        self, values: Tensor | None, place: Place, frame: Tensor | None = None, tile: Tensor | None = None
    ) -> TokenFacts:
        """Facts of one entry: `values` (n, c) or None, tokens of tile 0 and frame 0 unless said."""
        n = len(place.row)
        zero = torch.zeros(n, dtype=torch.long, device="cpu")
        told = self.unknown(n) if values is None else values.float()
        parts = told.split(list(self.widths.values()), dim=1) if self.widths else ()
        signals = {
            request: part if request.kind == "keys" else part[:, 0]
            for request, part in zip(self.widths, parts, strict=True)
            if request.kind != "grid"
        }
        known = bool(self.seen) and values is not None
        return TokenFacts(signals, zero if tile is None else tile, zero if frame is None else frame, place, known)


Layout = Callable[[Encoding], list[TokenFacts]]


def opaque(encoding: Encoding) -> list[TokenFacts]:
    """Tokens that come from no single place (a resampler), or whose place is not known: no signals."""
    return [encoding.facts(None, Place.unknown(length)) for length in encoding.lengths]


def grid(encoding: Encoding) -> list[TokenFacts]:
    """Tokens in raster order, each from a square block of a tile's tower tokens; an entry is one tile or several."""
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
                part = pooled(tiles[done].to(encoding.device), per_tile - encoding.extra)
                if part is not None:
                    known[start + extra : start + per_tile], filled = part[lost:], True
                whole = _square(per_tile - encoding.extra)
                places += [Place.unknown(extra), Place(whole.row[lost:], whole.column[lost:])]
                done += 1
            place = Place.cat(places)
        facts.append(encoding.facts(known if filled else None, place))
    return facts


def rasters(encoding: Encoding) -> list[TokenFacts]:
    """Pictures of any shape packed into one sequence, each in raster order, perhaps merged in squares (Pixtral)."""
    stream = encoding.stream()
    sizes = encoding.arguments.get("image_sizes")
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


def merged(encoding: Encoding) -> list[TokenFacts]:
    """Media packed into one sequence, each token from consecutive tower tokens, perhaps permuted into windows."""
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


def frames(encoding: Encoding) -> list[TokenFacts]:
    """One entry for each clip; the same grid for each frame, in raster order, pooled from the tower's."""
    return _clips(encoding, closing=0)


def frames_with_newline(encoding: Encoding) -> list[TokenFacts]:
    """Like `frames`, with one newline token at the end of each clip."""
    return _clips(encoding, closing=1)


def frames_with_cls(encoding: Encoding) -> list[TokenFacts]:
    """One entry for each frame, with all tokens of the tower; frames of one clip are numbered."""
    pixels = encoding.arguments.get("pixel_values_videos")
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
            places += [Place.unknown(leading), _square(length - leading)]
        values = torch.cat(known) if len(tiles) == len(encoding.lengths) else None
        clips.append(encoding.facts(values, Place.cat(places), torch.cat(frame)))
    return clips


def anyres(encoding: Encoding) -> list[TokenFacts]:
    """A thumbnail, then crops put together, unpadded, each row closed by a newline; laid out by the model itself.

    The model lays out the numbers of the tiles, on the host, and then the signals, where they are.
    """
    counts = tiles_per_picture(encoding.config, encoding.arguments)
    vision, tiles = encoding.config.vision_config, encoding.tiles()
    per_tile = len(tiles[0]) if tiles else (vision.image_size // vision.patch_size) ** 2
    extra = max(encoding.extra, 0)
    number = torch.cat([torch.arange(count, dtype=torch.int64, device="cpu") for count in counts]).float()
    marks = _packed(encoding, counts, number[:, None, None].expand(-1, per_tile + extra, 1), -1.0)
    signals: list[Tensor | None] = [None] * len(marks)
    if len(tiles) == sum(counts) and encoding.channels:
        seen = torch.stack(tiles).to(encoding.device)
        if extra:
            seen = torch.cat([seen.new_full((len(seen), extra, seen.shape[2]), torch.nan), seen], dim=1)
        signals = list(_packed(encoding, counts, seen, torch.nan))
    return [_anyres_facts(encoding, mark[:, 0], part) for mark, part in zip(marks, signals, strict=True)]


def _packed(encoding: Encoding, counts: list[int], values: Tensor, newline: float) -> list[Tensor]:
    """(tiles, tokens, c) as the model packs each picture's tiles, (n, c); its newline tokens hold `newline`."""
    config = encoding.config
    name = "vision_aspect_ratio" if hasattr(config, "vision_aspect_ratio") else "vision_feature_select_strategy"
    options = {name: encoding.arguments.get(name) or getattr(config, name)}
    closing = values.new_full((values.shape[-1],), newline)
    sizes = encoding.arguments["image_sizes"]
    packed, _ = encoding.base.pack_image_features(list(values.split(counts)), sizes, image_newline=closing, **options)
    return list(packed)


def _anyres_facts(encoding: Encoding, mark: Tensor, values: Tensor | None) -> TokenFacts:
    """Tile numbers come back blended where a model shrinks the grid of crops; the nearest one is meant."""
    tile = mark.round().long()
    thumbnail = int((tile == 0).sum())
    crops = tile[thumbnail:]
    closed = (crops < 0).long().cumsum(dim=0)
    row = closed - (crops < 0).long()
    first = torch.searchsorted(row, row)  # where each token's row starts
    column = torch.arange(len(crops), dtype=torch.int64, device="cpu") - first
    nowhere = crops < 0 if bool((crops < 0).any()) else torch.ones_like(crops, dtype=torch.bool)
    crop_place = Place(row.masked_fill(nowhere, -1), column.masked_fill(nowhere, -1))
    place = Place.cat([_square(thumbnail), crop_place])
    return encoding.facts(values, place, tile=tile)


def _clips(encoding: Encoding, closing: int) -> list[TokenFacts]:
    pixels = encoding.arguments.get("pixel_values_videos")
    tiles = encoding.tiles()
    clips = len(encoding.lengths)
    count = int(pixels.shape[1]) if isinstance(pixels, Tensor) and pixels.ndim == 5 else 1
    facts = []
    for clip, length in enumerate(encoding.lengths):
        per_frame = (length - closing) // count
        known, filled = encoding.unknown(length), False
        if len(tiles) == clips * count:
            mine = [pooled(tile.to(encoding.device), per_frame) for tile in tiles[clip * count : (clip + 1) * count]]
            for number, part in enumerate(mine):
                if part is not None:
                    known[number * per_frame : (number + 1) * per_frame], filled = part, True
        frame = torch.arange(length, dtype=torch.int64, device="cpu") // per_frame
        tile = torch.zeros(length, dtype=torch.long, device="cpu")
        places = [_square(per_frame)] * count
        if closing:
            frame[-closing:], tile[-closing:] = -1, -1
            places.append(Place.unknown(closing))
        facts.append(encoding.facts(known if filled else None, Place.cat(places), frame, tile))
    return facts


def pooled(values: Tensor, n: int) -> Tensor | None:
    """Means of a square grid of tower tokens (t, c) over the squares that make `n` tokens, (n, c); None if none do."""
    tower, side = math.isqrt(len(values)), math.isqrt(n)
    if n == len(values) or not values.shape[1]:
        return values[:n] if n == len(values) else values.new_zeros(n, 0)
    if side * side != n or tower * tower != len(values):
        return None
    square = values.T.reshape(1, -1, tower, tower)
    return functional.adaptive_avg_pool2d(square, (side, side))[0].flatten(1).T


def _square(n: int) -> Place:
    """`n` tokens of a square raster, if they make one."""
    side = math.isqrt(n)
    return Place.raster(side, side) if side * side == n else Place.unknown(n)


def _grids(encoding: Encoding) -> list[tuple[int, int, int]]:
    """(frames, rows, columns) in patches of each entry."""
    for name in ("image_grid_thw", "video_grid_thw", "image_grid_hws", "grid_thw", "grid_thws"):
        given = encoding.arguments.get(name)
        if given is not None:
            rows = [
                [int(number) for number in row]
                for row in torch.as_tensor(given, device="cpu", dtype=torch.int64).tolist()
            ]
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
    return torch.argsort(window_order(grids, config.spatial_merge_size, window, config.patch_size))


def tiles_per_picture(config: Any, arguments: dict[str, Any]) -> list[int]:
    """Tiles of each picture, its thumbnail counted, in one call of `get_image_features` with these arguments.

    A picture that shares its sample with others may have one alone (OneVision).
    """
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    counts = [
        int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
        for size in arguments["image_sizes"]
    ]
    together = arguments.get("batch_num_images")
    if together is None:
        return counts
    alone = [int(number) == 1 for number in together for _ in range(int(number))]
    return [count if cut else 1 for count, cut in zip(counts, alone, strict=True)]
