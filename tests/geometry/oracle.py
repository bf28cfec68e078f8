"""Where visual tokens come from, found out without `todre.geometry`: process ramps, and differentiate a tiny model.

A picture whose brightness is the x coordinate, run through the family's own image processor, says for each number that
the model is given where in the picture it comes from; other ramps say the same for y, for the frame and for the
picture's index, and a white picture tells padding. The gradient of one visual token with respect to those numbers says
which of them it was made from, once the tower's attention is switched off so that patches do not mix. Both together
are a box, and the order of the tokens is the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from todre.geometry import ClipShape, Picture, visual_token_boxes

PLAIN = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
"""Settings that let processors hand on brightness from 0 to 1."""

OUTPUTS = {"out_proj", "o_proj", "proj", "projection_layer", "dense", "wo", "proj_out"}

Size = tuple[int, ...]
"""(width, height) of a picture, or (width, height, frames) of a clip."""


@dataclass(frozen=True)
class Probe:
    """A tiny model of one family, and its processors.

    Attributes:
        processor: what `visual_token_boxes` is given.
        model: in float64, its towers' attention switched off.
        process: arrays (frames, height, width, 3) of uint8, one frame for a picture, to the model's inputs.
        features: model and inputs to visual tokens (n, d), in sequence order.
        pixels: name of the input that holds the numbers.
        cell: pixels of the processed picture along one side of a token.
        reach: how many cells beyond its box a token may look (interpolation).
    """

    processor: Any
    model: Any
    process: Callable[[list[np.ndarray]], dict[str, Any]]
    features: Callable[[Any, dict[str, Any]], Tensor]
    cell: int
    pixels: str = "pixel_values"
    reach: float = 0.0


def without_attention(model: nn.Module) -> Any:
    """The model in float64, the outputs of attention and of convolutions between blocks zero: tokens do not mix.

    What is zero also depends on nothing, so that gradients need not run back through the attention.
    """
    silenced = 0
    for module in model.modules():
        if any(mixer in type(module).__name__ for mixer in ("Attention", "ShortConv")):
            outputs = [child for name, child in module.named_children() if name in OUTPUTS]
            for linear in (part for child in outputs for part in child.modules() if isinstance(part, nn.Linear)):
                nn.init.zeros_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)
                linear.register_forward_hook(lambda _, __, output: output.detach())
                silenced += 1
    assert silenced
    return model.double().eval()


def drawn(size: Size, which: str, index: int, count: int) -> np.ndarray:
    """A picture or clip (frames, height, width, 3) whose brightness is one coordinate of its pixels, in 0..1."""
    width, height, frames = (*size, 1)[:3]
    ramps = {
        "x": ((np.arange(width) + 0.5) / width)[None, None, :],
        "y": ((np.arange(height) + 0.5) / height)[None, :, None],
        "frame": ((np.arange(frames) + 1) / frames)[:, None, None],
        "media": np.full((1, 1, 1), (index + 1) / count),
        "white": np.ones((1, 1, 1)),
    }
    values = np.broadcast_to(ramps[which], (frames, height, width))
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=-1)


def coordinates(probe: Probe, sizes: Sequence[Size]) -> dict[str, Tensor]:
    """For each number the model is given: x, y, frame, the picture's index, and whether it is no padding, in 0..1."""
    maps = {}
    for which in ("x", "y", "frame", "media", "white"):
        media = [drawn(size, which, index, len(sizes)) for index, size in enumerate(sizes)]
        maps[which] = probe.process(media)[probe.pixels].double().flatten()
    return maps


def sources(probe: Probe, sizes: Sequence[Size]) -> list[Tensor]:
    """For each visual token, which of the model's numbers its features depend on: boolean, flattened."""
    generator = torch.Generator().manual_seed(0)
    noise = np.random.default_rng(0)
    media = [noise.integers(0, 256, (*drawn(size, "white", 0, 1).shape[:3], 3), dtype=np.uint8) for size in sizes]
    inputs = dict(probe.process(media))
    pixels = inputs[probe.pixels].double().requires_grad_()
    features = probe.features(probe.model, {**inputs, probe.pixels: pixels})
    scores = features @ torch.randn(features.shape[-1], generator=generator, dtype=torch.float64)
    return _owners(scores, pixels) or [_touched(score, pixels) for score in scores]


def _touched(score: Tensor, pixels: Tensor) -> Tensor:
    """Which numbers a score depends on."""
    if not score.requires_grad:
        return torch.zeros(pixels.numel(), dtype=torch.bool)
    (gradient,) = torch.autograd.grad(score, pixels, retain_graph=True, allow_unused=True)
    return torch.zeros(pixels.numel(), dtype=torch.bool) if gradient is None else gradient.flatten() != 0


def _owners(scores: Tensor, pixels: Tensor) -> list[Tensor] | None:
    """`_touched` of all scores from a few gradients, one per bit of a token's number; None where tokens overlap."""
    numbers, owner = torch.arange(len(scores)), torch.zeros(pixels.numel(), dtype=torch.long)
    seen = _touched(scores.sum(), pixels)
    for bit in range(len(scores).bit_length()):
        chosen = (numbers >> bit) % 2 == 1
        ones, zeros = (_touched(scores[which].sum(), pixels) for which in (chosen, ~chosen))
        if bool((ones & zeros).any()):
            return None
        owner += ones.long() << bit
    return [seen & (owner == number) for number in numbers]


def check(probe: Probe, sizes: Sequence[Size]) -> int:
    """Compare boxes with the oracle for one prompt, and return how many tokens it has."""
    media = [ClipShape(*size) if len(size) == 3 else Picture(*size) for size in sizes]
    boxes = visual_token_boxes(probe.processor, probe.model.config, media)
    found, maps = sources(probe, sizes), coordinates(probe, sizes)
    assert len(boxes) == len(found), f"{len(boxes)} boxes for {len(found)} visual tokens"
    widest = [
        (max(box.right - box.left for box in boxes if box.image == index), max(box.bottom - box.top for box in boxes))
        for index in range(len(sizes))
    ]
    for place, (box, seen) in enumerate(zip(boxes, found, strict=True)):
        name = f"token {place}, {box}"
        if box.kind in ("newline", "class"):
            assert not seen.any(), f"{name} depends on pixels"
            continue
        assert seen.any(), f"{name} depends on no pixel"
        inside = seen & (maps["white"] > 0.99)
        if not inside.any():
            shares = (box.right - box.left) / widest[box.image][0], (box.bottom - box.top) / widest[box.image][1]
            assert min(shares) <= 1.3 / probe.cell, f"{name} saw nothing but padding"
            continue
        size = sizes[box.image]
        _check_which(name, box, maps, inside, size, len(sizes))
        kinds = [other for other in boxes if other.kind == box.kind and other.image == box.image]
        for axis, edges, extent in (("x", (box.left, box.right), size[0]), ("y", (box.top, box.bottom), size[1])):
            cell = max((o.right - o.left) if axis == "x" else (o.bottom - o.top) for o in kinds)
            slack = (1.3 / probe.cell + probe.reach) * cell + extent / 255 + 0.5
            low, high = (float(edge) * extent for edge in (maps[axis][inside].min(), maps[axis][inside].max()))
            assert abs(low - edges[0]) <= slack, f"{name} starts at {axis} = {low:.2f}, more than {slack:.2f} off"
            assert abs(high - edges[1]) <= slack, f"{name} ends at {axis} = {high:.2f}, more than {slack:.2f} off"
    return len(boxes)


def _check_which(name: str, box: Any, maps: dict[str, Tensor], inside: Tensor, size: Size, count: int) -> None:
    owners = set((maps["media"][inside] * count).round().int().tolist())
    assert owners == {box.image + 1}, f"{name} looks at pictures {owners}"
    if len(size) == 2:
        assert (box.frame, box.frames) == (None, 1), name
        return
    frames = set((maps["frame"][inside] * size[2] - 1).round().int().tolist())
    assert frames == set(range(box.frame, box.frame + box.frames)), f"{name} looks at frames {frames}"
