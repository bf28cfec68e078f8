"""Thin strokes in the pixels that a vision tower is given: where text stands.

Letters are strokes that are thin beside a patch, and much darker or lighter than what is on both sides of them. A
morphological closing fills dark strokes and leaves all that is wider; an opening does the same for light ones. So a
pixel that both change by much lies on a thin stroke, on plain paper as on a photograph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from todre.hf.tower_calls import (
    Arguments,
    named_arguments,
    packed_grids,
    packed_pixels,
    patch_pictures,
    sizes_within,
    tile_pixels,
)
from todre.hf.wrappers import CompileGuard, Removable, no_compile
from todre.tensors.autocast import no_autocast
from todre.tower.packed_run import unit_order

Found = Callable[[Tensor | None], None]
"""A function that is told what `tower_strokes` found in one call of a tower."""

_GREY = (0.299, 0.587, 0.114)
_CONTRAST = 0.25  # of the difference between the darkest and the lightest pixel
_LEAST = 0.5  # in normalised pixels: an eighth of black to white for CLIP's processors, a quarter for SigLIP's


class Strokes:
    """A hook that reads thin strokes off the pixels of each call of a tower.

    Args:
        vision_config: of the tower.
        found: is told what was found.
        when: calls are read while it returns True.
    """

    def __init__(self, vision_config: Any, found: Found, when: Callable[[], bool]) -> None:
        self.vision_config, self.found, self.when = vision_config, found, when

    def put(self, tower: nn.Module) -> list[Removable]:
        """Put the hook on `tower`; removing what is returned takes it off again."""
        # Before hooks that are there already, which may leave pixels out.
        hook = tower.register_forward_pre_hook(self.read, with_kwargs=True, prepend=True)
        return [hook, CompileGuard(tower)]

    @no_compile
    @torch.no_grad()
    def read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read one call."""
        if not self.when():
            return
        arguments = named_arguments(module, args, kwargs)
        pixels = next((each for each in arguments.values() if isinstance(each, Tensor)), None)
        with no_autocast(torch.device("cpu") if pixels is None else pixels.device):
            self.found(tower_strokes(self.vision_config, arguments))


def fitting(strokes: Sequence[Tensor | None], others: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Strokes in the shape of the other signals of the same calls.

    Args:
        strokes: of each call of a tower, as `tower_strokes` gives them.
        others: for each other signal, (tiles, tokens, c) of each call.

    Returns:
        (tiles, tokens, 1) of each call, on the device of the others. NaN in the place of strokes that do not fit; empty
        where there is nothing to fit to, and strokes are not known.
    """
    known = [each for each in strokes if each is not None]
    if not others or not others[0]:
        return known if len(known) == len(strokes) else []
    known = [each.to(others[0][0].device) for each in known]
    packed = {len(each) for each in others[0]} == {1}
    shapes = [each.shape[:2] for each in others[0]]
    if len(known) == len(strokes):
        if [each.shape[:2] for each in known] == shapes:
            return known
        if packed and {len(each) for each in known} == {1} and sum(n for _, n in shapes) == sum(map(_tokens, known)):
            return [torch.cat(known, dim=1)]
    if packed:
        shapes = [torch.Size((1, sum(n for _, n in shapes)))]
    return [others[0][0].new_full((*shape, 1), torch.nan, dtype=torch.float32) for shape in shapes]


def _tokens(values: Tensor) -> int:
    return values.shape[1]


def stroke_map(grey: Tensor, patch: int) -> Tensor:
    """Share of each patch's pixels that lie on thin strokes.

    With b = 1 + 2 · max(1, round(patch / 8)), a pixel lies on a stroke if closing or opening by a square of b × b
    pixels changes it by more than a quarter of the picture's range, and by more than half a unit.

    Args:
        grey: (t, height, width) normalised grey values of t pictures.
        patch: pixels along each side of a patch.

    Returns:
        (t, height // patch, width // patch) float32.
    """
    pixels = grey.float()[:, None]
    border = max(1, round(patch / 8))

    def highest(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 1 + 2 * border, 1, border)

    def lowest(x: Tensor) -> Tensor:
        return -highest(-x)

    changed = torch.maximum(lowest(highest(pixels)) - pixels, pixels - highest(lowest(pixels)))
    least = (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3))).mul(_CONTRAST).clamp(min=_LEAST)
    return functional.avg_pool2d((changed > least[:, None, None, None]).float(), patch)[:, 0]


def tower_strokes(vision_config: Any, arguments: Arguments) -> Tensor | None:
    """Share of each patch's pixels on thin strokes, in the order of a tower's tokens.

    Args:
        vision_config: of the tower.
        arguments: of the tower's call, by name.

    Returns:
        (tiles, patches, 1) float32, one tile for a packed sequence; None if the pixels are laid out in another way.
    """
    patch = getattr(vision_config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) and len(set(patch)) == 1 else patch
    if not isinstance(patch, int):
        return None
    grids = packed_grids(arguments)
    if grids is not None:
        return _packed(vision_config, patch, arguments, grids)
    pixels = tile_pixels(arguments)
    if (
        not isinstance(pixels, Tensor)
        or pixels.ndim != 4
        or pixels.shape[1] != len(_GREY)
        or min(pixels.shape[2:]) < patch
    ):
        return None
    grey = _grey(pixels)
    sizes = sizes_within(vision_config, arguments)
    if sizes is None:
        return stroke_map(grey, patch).flatten(1)[..., None]
    shown = [one[None, :height, :width] for one, (height, width) in zip(grey, sizes, strict=True)]
    return torch.cat([stroke_map(one, patch).flatten() for one in shown])[None, :, None]


def _packed(vision_config: Any, patch: int, arguments: Arguments, grids: Any) -> Tensor | None:
    """The strokes of pictures and clips that are packed patch by patch, unit by unit."""
    pixels = packed_pixels(arguments)
    merge = int(getattr(vision_config, "spatial_merge_size", 1))
    sizes = [(int(t), int(h), int(w)) for t, h, w in torch.as_tensor(grids, dtype=torch.int64, device="cpu").tolist()]
    fits = isinstance(pixels, Tensor) and pixels.ndim == 2 and len(pixels) == sum(math.prod(size) for size in sizes)
    if not fits or any(h % merge or w % merge for _, h, w in sizes):
        return None
    pictures = patch_pictures(vision_config, pixels, len(_GREY), patch)
    if pictures is None:
        return None
    parts = _grey(pictures).split([math.prod(size) for size in sizes])
    units = torch.cat([_of_units(part, size, merge, patch) for part, size in zip(parts, sizes, strict=True)])
    order = unit_order(vision_config, arguments, len(units)).to(units.device)
    return units[order].flatten()[None, :, None]


def _of_units(grey: Tensor, size: tuple[int, int, int], merge: int, patch: int) -> Tensor:
    """The strokes of one packed picture or clip, (units, merge²) float32.

    Args:
        grey: (patches, patch, patch) grey values, a unit's patches one after the other.
        size: steps in time, rows and columns of patches.
        merge: patches along each side of a unit.
        patch: pixels along each side of a patch.
    """
    steps, rows, columns = size
    down, across = rows // merge, columns // merge
    raster = grey.view(steps, down, across, merge, merge, patch, patch).permute(0, 1, 3, 5, 2, 4, 6)
    found = stroke_map(raster.reshape(steps, rows * patch, columns * patch), patch)
    return found.view(steps, down, merge, across, merge).transpose(2, 3).reshape(-1, merge**2)


def _grey(pixels: Tensor) -> Tensor:
    """Grey values (n, height, width) of pixels (n, 3, height, width), in float32."""
    return torch.einsum("nchw,c->nhw", pixels.float(), pixels.new_tensor(_GREY, dtype=torch.float32))
