"""PixelPrune: leave out image blocks that their neighbours predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Positive, Share
from todre.methods.base import Method
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.vision_tower import Patches

Metric = Literal["max", "mean", "rms"]


@dataclass(frozen=True, kw_only=True)
class PixelPrune(Method):
    """Leave out the blocks of a picture that their left and upper neighbours predict.

    Based on "PixelPrune" (arXiv 2604.00886) and its code. A block is one visual token. With A the block to the left, B
    the one above and C the one between them, a block is predicted as B where C is like A but not like B, and as A
    otherwise. The first row is predicted from A and the first column from B; the corner is kept. Predictions use
    the restored values of the neighbours, so errors do not add up. All this happens before the vision tower's first
    layer.

    Args:
        tau: largest distance of a block to its prediction, on pixels from 0 to 1; at 0 nothing of the picture is lost.
        metric: the distance: the largest (`max`), the `mean`, or the root mean square (`rms`) difference.
        std: standard deviation by which the processor divided the pixels' channels: 0.5 in Qwen3-VL, (0.26862954,
            0.26130258, 0.27577711) in Qwen2-VL and Qwen2.5-VL. It has no effect where tau is 0.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    tau: Share = 0.0
    metric: Metric = "max"
    std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)

    name: ClassVar[str] = "pixelprune"
    summary: ClassVar[str] = "image blocks that their neighbours predict, left out before the tower"
    paper: ClassVar[str] = "arXiv 2604.00886"
    card: ClassVar[Card] = Card(
        venue="preprint 2026",
        acts=("tower",),
        needs=("packed",),
        budget="None: the pictures decide, between one token and all; flat areas are left out, photographs stay.",
        follows="The code's anchored mode, for any tau. Each step in time of a clip is predicted as a picture of its "
        "own, with all the frames in it, where the code takes pictures alone.",
    )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act before the first layer."""
        return (0,)

    def leave_out(self, patches: Patches) -> Tensor:
        """Index of the kept unit that each unit is restored from; its own if it is kept."""
        import torch

        std = patches.pixels.new_tensor(self.std, dtype=torch.float32)
        colours = patches.pixels.float().reshape(len(patches.pixels), patches.merge**2, patches.channels, -1)
        pixels = (colours * std[:, None]).flatten(1) if self.tau else colours.flatten(1)
        source = torch.arange(len(pixels), device=pixels.device, dtype=torch.int64)
        start = 0
        for frames, rows, columns in patches.grids:
            count = frames * rows * columns
            part = pixels[start : start + count].view(frames, rows, columns, -1)
            places = source[start : start + count].view(frames, rows, columns)
            source[start : start + count] = predict_blocks(part, places, self.tau, self.metric).flatten()
            start += count
        return source


def predict_blocks(pixels: Tensor, places: Tensor, tau: float, metric: Metric) -> Tensor:
    """Place from which each block is restored; a kept block has its own place.

    Blocks of one anti-diagonal do not depend on each other, and are computed at once.

    Args:
        pixels: (frames, rows, columns, p) float32.
        places: (frames, rows, columns) int64, a number for each block.
        tau, metric: see `PixelPrune`.

    Returns:
        (frames, rows, columns) int64.
    """
    import torch

    rows, columns = pixels.shape[1:3]
    restored, source = pixels.clone(), places.clone()
    for diagonal in range(1, rows + columns - 1):
        first, end = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        row = torch.arange(first, end, device=pixels.device, dtype=torch.int64)
        column = diagonal - row
        up, back = (row - 1).clamp(min=0), (column - 1).clamp(min=0)
        left, above, corner = restored[:, row, back], restored[:, up, column], restored[:, up, back]
        upwards = similar(corner, left, tau, metric) & ~similar(corner, above, tau, metric)
        upwards = (upwards | (column == 0)) & (row > 0)
        guess = torch.where(upwards[..., None], above, left)
        hit = similar(pixels[:, row, column], guess, tau, metric)
        origin = torch.where(upwards, source[:, up, column], source[:, row, back])
        restored[:, row, column] = torch.where(hit[..., None], guess, pixels[:, row, column])
        source[:, row, column] = torch.where(hit, origin, places[:, row, column])
    return source


def similar(one: Tensor, other: Tensor, tau: float, metric: Metric) -> Tensor:
    """Blocks (…, p) within `tau` of each other, (…) bool."""
    if not tau:
        return (one == other).all(dim=-1)
    difference = (one - other).abs()
    if metric == "max":
        return difference.amax(dim=-1) <= tau
    return difference.mean(dim=-1) <= tau if metric == "mean" else difference.square().mean(dim=-1).sqrt() <= tau
