"""Calls of a vision tower and its layers: arguments and outputs by their meaning.

Towers come in two kinds. In a tower with tiles side by side, layers take hidden states and perhaps a mask. In a tower
that packs its pictures into one sequence (Qwen-VL and kin), layers take bounds and rotary angles too.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from todre.hf.keywords import BOUNDS, GRIDS, LONGEST, MASK, PIXELS, ROTARY, SIZES, STATES, WINDOWS

Arguments = dict[str, Any]


def named_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> Arguments:
    """All arguments of one call of `module`, by name."""
    return dict(zip(inspect.signature(module.forward).parameters, args, strict=False)) | kwargs


def packs_pictures(layers: Sequence[nn.Module]) -> bool | None:
    """True if a tower packs its pictures into one sequence, False if it has tiles.

    None if the arguments of its layers do not tell.
    """
    parameters = set().union(*(inspect.signature(layer.forward).parameters for layer in layers))
    packing = {BOUNDS, ROTARY}
    if parameters >= packing:
        return True
    return None if parameters & packing else False


def take_states(arguments: Arguments) -> Tensor:
    """The hidden states of a layer, removed from its `arguments`."""
    states: Tensor = arguments.pop(STATES)
    return states


def with_states(arguments: Arguments, states: Tensor) -> Arguments:
    """A layer's arguments with other hidden states."""
    return arguments | {STATES: states}


def attention_mask_of(arguments: Arguments) -> Any:
    """The attention mask of a tower's layer, or None."""
    return arguments.get(MASK)


def without_mask(arguments: Arguments) -> Arguments:
    """A layer's arguments without a mask, for use where the mask hides nothing."""
    return arguments | {MASK: None} if MASK in arguments else arguments


def with_attention_mask(arguments: Arguments, mask: Tensor) -> Arguments:
    """An attention module's arguments with another mask."""
    return arguments | {MASK: mask}


def takes_mask(attention: nn.Module) -> bool:
    """True if an attention module has a mask among its arguments."""
    return MASK in inspect.signature(attention.forward).parameters


def tile_pixels(arguments: Arguments) -> Any:
    """Pixels of a tower with tiles, (tiles, channels, side, side), or None."""
    return arguments.get(PIXELS)


def sizes_within(vision_config: Any, arguments: Arguments) -> list[tuple[int, int]] | None:
    """Height and width of each picture in a padded tensor (Pixtral).

    None where every picture fills its tile.
    """
    sizes = arguments.get(SIZES)
    if getattr(vision_config, "model_type", None) != "pixtral" or sizes is None:
        return None
    return [(height, width) for height, width in torch.as_tensor(sizes, dtype=torch.int64, device="cpu").tolist()]


def packed_pixels(arguments: Arguments) -> Any:
    """Pixels of a packing tower, (patches, values), or None."""
    return next((arguments[name] for name in (STATES, PIXELS) if name in arguments), None)


def patch_pictures(vision_config: Any, pixels: Tensor, channels: int, patch: int) -> Tensor | None:
    """Packed patches as pictures, the first of several frames.

    Towers take a patch's values as channel · frame · row · column, that of Cosmos3 Edge as row · column · channel.

    Args:
        vision_config: of the tower.
        pixels: (patches, values).
        channels: number of colour channels.
        patch: pixels along each side of a patch.

    Returns:
        (patches, channels, patch, patch); None if there are not as many values.
    """
    frames = int(getattr(vision_config, "temporal_patch_size", 1))
    last = getattr(vision_config, "model_type", None) == "cosmos3_edge_vision"
    if pixels.shape[1] != channels * patch**2 * (1 if last else frames):
        return None
    if last:
        return pixels.view(-1, patch, patch, channels).permute(0, 3, 1, 2)
    return pixels.view(-1, channels, frames, patch, patch)[:, :, 0]


def packed_grids(arguments: Arguments) -> Any:
    """Grids of a packing tower, (pictures, 3) as frames, rows and columns, or None."""
    return arguments.get(GRIDS)


def packed_windows(arguments: Arguments) -> Tensor | None:
    """Order of the units by windows, (u,); None if the tower itself computes it."""
    return arguments.get(WINDOWS)


def packed_bounds_of(arguments: Arguments) -> Tensor:
    """Bounds of the parts of a packed sequence, (m + 1,), from a layer's arguments."""
    bounds: Tensor = arguments[BOUNDS]
    return bounds


def arguments_for_tokens(arguments: Arguments, seats: Tensor, bounds: Tensor, longest: int) -> Arguments:
    """A packing tower's layer arguments, for the tokens that are left.

    Args:
        arguments: the layer's arguments for all tokens.
        seats: (s,) int64, places of the tokens that are left.
        bounds: (m + 1,), where the parts of the shortened sequence start and end.
        longest: number of tokens in the longest part.
    """
    angles = tuple(part[seats.to(part.device)] for part in arguments[ROTARY])
    changed: Arguments = {BOUNDS: bounds, ROTARY: angles}
    known = arguments.get(LONGEST)
    if isinstance(known, int):
        changed[LONGEST] = longest
    elif isinstance(known, Tensor):
        changed[LONGEST] = torch.full_like(known, longest)
    return arguments | changed


def entry_states(output: Any) -> Tensor | None:
    """The hidden states that entered a tower's first layer, if its output holds them."""
    recorded = getattr(output, "hidden_states", None)
    return recorded[0] if recorded else None


def replace_entry_states(output: Any, states: Tensor) -> None:
    """Replace the states in a tower's output that `entry_states` returns."""
    output.hidden_states = (states, *output.hidden_states[1:])
