"""AnyRes pictures (LLaVA-NeXT and kin): a thumbnail, then a grid of crops.

How many crops a picture is cut into follows transformers' own rule, which is called here, not copied.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from todre.hf.encoding import Encoding, square_place
from todre.hf.keywords import SIZES
from todre.tensors.token_facts import Place, TokenFacts


def crop_grid(size: Any, config: Any) -> tuple[int, int]:
    """The crop grid of one picture, as (rows, columns).

    Args:
        size: (height, width) of the picture in pixels.
        config: the model's config.
    """
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_config.image_size)
    return int(rows), int(columns)


def picture_sizes(arguments: dict[str, Any]) -> Any:
    """Picture sizes of one encoding call, (pictures, 2), as height and width.

    Args:
        arguments: the arguments of `get_image_features`, by name.
    """
    return arguments[SIZES]


def tiles_per_picture(config: Any, arguments: dict[str, Any]) -> list[int]:
    """Tiles of each picture, its thumbnail included.

    Some models (OneVision) leave pictures uncut if these share a sample: each such picture is one tile.

    Args:
        config: the model's config.
        arguments: the arguments of `get_image_features`, by name.
    """
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    counts = [
        int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
        for size in arguments[SIZES]
    ]
    together = arguments.get("batch_num_images")
    if together is None:
        return counts
    alone = [int(number) == 1 for number in together for _ in range(int(number))]
    return [count if cut else 1 for count, cut in zip(counts, alone, strict=True)]


def packing_of(config: Any) -> Any:
    """A stand-in that packs tiles by `pack_image_features`, as a model would.

    Other engines run the same checkpoints without transformers' modules.

    Args:
        config: config of a model with AnyRes pictures.
    """
    from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
    from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

    model = LlavaOnevisionModel if config.model_type == "llava_onevision" else LlavaNextModel
    stand_in = SimpleNamespace(config=config)  # packing reads nothing else of the model (seen in 5.18 to 5.24)
    return SimpleNamespace(pack_image_features=functools.partial(model.pack_image_features, stand_in))


def anyres(encoding: Encoding) -> list[TokenFacts]:
    """The layout of a thumbnail followed by unpadded crops with newline tokens.

    The model's own packing function lays out the places of tiles on the host, and then the signals on their device. So
    its unpadding and newlines are never reimplemented.
    """
    counts = tiles_per_picture(encoding.config, encoding.arguments)
    vision, tiles = encoding.config.vision_config, encoding.tiles()
    per_tile = len(tiles[0]) if tiles else (vision.image_size // vision.patch_size) ** 2
    extra = max(encoding.extra, 0)
    sizes = encoding.arguments[SIZES]
    columns = [crop_grid(size, encoding.config)[1] for size in sizes]
    where = torch.cat([_places(count, width) for count, width in zip(counts, columns, strict=True)])
    marks = _pack(encoding, counts, where[:, None, :].expand(-1, per_tile + extra, 2), -1.0)
    signals: list[Tensor | None] = [None] * len(marks)
    if len(tiles) == sum(counts) and encoding.channels:
        values = torch.stack(tiles).to(encoding.device)
        if extra:
            values = torch.cat([values.new_full((len(values), extra, values.shape[2]), torch.nan), values], dim=1)
        signals = list(_pack(encoding, counts, values, torch.nan))
    return [
        _anyres_facts(encoding, _tiles(mark, width), part)
        for mark, width, part in zip(marks, columns, signals, strict=True)
    ]


def _places(count: int, columns: int) -> Tensor:
    """Row and column of each tile in the grid of crops, (count, 2) float32, from 1.

    Those of the thumbnail are 0.
    """
    crops = torch.arange(count - 1, dtype=torch.int64, device="cpu")
    rows = torch.stack([crops // columns, crops % columns], dim=1) + 1
    return torch.cat([rows.new_zeros(1, 2), rows]).float()


def _tiles(mark: Tensor, columns: int) -> Tensor:
    """Tile number of each token, (n,) int64.

    It is 0 for the thumbnail, 1.. for crops, and -1 at newline tokens.

    Where a model shrinks the grid of crops (OneVision), packing interpolates. Rows and columns of tiles then come back
    between those of two neighbours, one of which is the nearest; numbers of tiles would come back as those of others.

    Args:
        mark: (n, 2) float32, packed rows and columns of tiles, as `_places` has them; negative at newline tokens.
        columns: of the grid of crops.
    """
    row, column = mark.round().long().unbind(dim=1)
    return torch.where(row > 0, (row - 1) * columns + column, row.clamp(min=-1))


def _pack(encoding: Encoding, counts: list[int], values: Tensor, newline: float) -> list[Tensor]:
    """Values packed per picture by the model's own function, (n, c) for each picture.

    Args:
        encoding: the call that encoded the pictures.
        counts: tiles of each picture.
        values: (tiles, tokens, c) values to pack.
        newline: the value that newline tokens get.
    """
    config = encoding.config
    # The packing method of OneVision takes an aspect ratio, those of LLaVA-NeXT a feature strategy (seen in 5.24).
    name = "vision_aspect_ratio" if hasattr(config, "vision_aspect_ratio") else "vision_feature_select_strategy"
    options = {name: encoding.arguments.get(name) or getattr(config, name)}
    closing = values.new_full((values.shape[-1],), newline)
    sizes = encoding.arguments[SIZES]
    packed, _ = encoding.base.pack_image_features(list(values.split(counts)), sizes, image_newline=closing, **options)
    return list(packed)


def _anyres_facts(encoding: Encoding, tile: Tensor, values: Tensor | None) -> TokenFacts:
    """Token facts of one packed picture.

    Args:
        encoding: the call that encoded the picture.
        tile: (n,) int64 on the host, the tile of each token; negative at newline tokens.
        values: (n, c) packed signals, or None.
    """
    thumbnail = int((tile == 0).sum())
    crops = tile[thumbnail:]
    closed = (crops < 0).long().cumsum(dim=0)
    row = closed - (crops < 0).long()
    first = torch.searchsorted(row, row)  # where each token's row starts
    column = torch.arange(len(crops), dtype=torch.int64, device="cpu") - first
    nowhere = crops < 0 if bool((crops < 0).any()) else torch.ones_like(crops, dtype=torch.bool)
    crop_place = Place(row.masked_fill(nowhere, -1), column.masked_fill(nowhere, -1))
    place = Place.cat([square_place(thumbnail), crop_place])
    return encoding.facts(values, place, tile=tile)
