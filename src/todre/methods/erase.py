"""ERASE: squares with the busiest grey levels, then what the text asks for."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import InvalidValueError
from todre.fields import Range
from todre.fields.kinds import Layer, Positive, Retain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layer

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.methods.views.vision_tower import Patches

Nats = Annotated[float, Range(least=0)]
Kept = Annotated[float, Range(above=0, most=1, called="a share")]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What the processors of Qwen2-VL and Qwen2.5-VL subtract and divide by."""

_UNITS_AT_ONCE = 1024
_SLACK = 1e-9  # products of shares and counts miss whole numbers a little


@dataclass(frozen=True, kw_only=True)
class ERASE(Method):
    """Keep squares with the busiest grey levels, then what the text asks for.

    Based on ERASE (arXiv 2605.09982) and its code. The entropy of a token is that of the 256 grey levels in its square
    of pixels, in nats. A picture's complexity is the median entropy of its tokens. The first threshold that it exceeds
    gives the share of tokens kept, the last ratio where it exceeds none; the tokens of highest entropy stay, and never
    fewer than `retain`. Inside the LLM, after one layer, the visual tokens stay that get most attention from the text,
    averaged over heads and summed over text tokens, `retain` of those that the picture had.

    Entropy says how busy pixels are, not what they show. In a square of 28 × 28 pixels it is 0 where a page is blank,
    about 0.35 for black strokes on white (0.9 with smoothed edges), 1.8 for a scanner's noise on paper, 3.3 for a
    smooth gradient and 4.5 for a photograph. So on pages that mix them, photographs, gradients and noise are preferred
    to text, and noise of compression decides among the rest. It is safe only where text is the busiest content. Pixels
    that reach the model in half precision have lost levels; pass them as the processor made them.

    Args:
        retain: visual tokens left at the end, a fraction of a sample's tokens or a count.
        thresholds: complexities, in nats and falling, above which a picture is of the first, second or third class.
            They depend on the size of squares and on how pictures are resized. The defaults were fitted for
            Qwen2.5-VL-7B and `retain=0.25`; no others are published but those of the preset.
        ratios: shares of tokens that enter the LLM in each of the four classes, not rising.
        early: layers of the LLM run before the second cut of simple samples, a count or a fraction of the depth.
        late: the same for complex samples, those of which at least as many tokens entered as the second class keeps;
            the default is 17 of 28 layers and 22 of 36. If it is below `early` it counts as `early`.
        mean, std: what the processor subtracted from the pixels' channels, and then divided them by.
        positions: see `Method`; the first cut is made for each picture, so `per` stays as it is.
    """

    retain: Retain = 0.25
    thresholds: tuple[Nats, Nats, Nats] = (1.690, 1.347, 1.172)
    ratios: tuple[Kept, Kept, Kept, Kept] = (0.827, 0.751, 0.495, 0.403)
    early: Layer = 2
    late: Layer = 0.612
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[Positive, Positive, Positive] = CLIP_STD

    name: ClassVar[str] = "erase"
    summary: ClassVar[str] = "squares with busy grey levels, then what the text attends to"
    paper: ClassVar[str] = "arXiv 2605.09982"
    card: ClassVar[Card] = Card(
        venue="preprint 2026",
        acts=("tower", "reduce"),
        needs=("packed", "text", "attention"),
        budget="Exact after the second cut. Before it the picture decides, by its class.",
        follows="The released code, with the fitted numbers of its two models: grey levels and counts cut to whole "
        "numbers, the lower of two medians. Its first cut comes after the tower; here it comes before it, where pixels "
        "are known, so the tokens that stay do not see the others in the tower. The last count is rounded. Layers up "
        "to the second cut keep their cache entries, which the code shortens. Where to cut follows from the share of a "
        "sample's tokens that entered, for one picture its class; the code takes the deepest of its pictures. A sample "
        "without text after its pictures is asked by its last token. A clip counts as one picture.",
    )

    def __post_init__(self) -> None:
        for name, values in (("thresholds", self.thresholds), ("ratios", self.ratios)):
            if list(values) != sorted(values, reverse=True):
                raise InvalidValueError(f"ERASE's {name} go from busy to plain pictures and must not rise: {values}.")

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act before the first layer."""
        return (0,)

    def leave_out(self, patches: Patches) -> Tensor:
        """Leave out the units of lowest entropy in each picture.

        Returns:
            (u,) int64; a unit that is left out takes the value of the first in its picture that is kept.
        """
        import torch

        entropy = grey_entropy(patches, self.mean, self.std)
        sizes = [frames * rows * columns for frames, rows, columns in patches.grids]
        parts = entropy.split(sizes)
        medians = torch.stack([part.median() for part in parts]).tolist()
        source = torch.arange(len(entropy), device=entropy.device, dtype=torch.int64)
        for part, own, median in zip(parts, source.split(sizes), medians, strict=True):
            count = self.entering(self.ratios[self.complexity_class(median)], len(part))
            order = part.argsort(descending=True, stable=True)
            own[order[count:]] = own[order[:count].min()].clone()
        return source

    def complexity_class(self, median: float) -> int:
        """The class of a picture, from 0 for busy ones, by its median entropy in nats."""
        return next((place for place, least in enumerate(self.thresholds) if median > least), len(self.thresholds))

    def entering(self, ratio: float, n: int) -> int:
        """Tokens of a picture of `n` that enter the LLM, by the ratio of its class."""
        least = self.retain if isinstance(self.retain, int) else math.ceil(self.retain * n - _SLACK)
        return min(n, max(1, int(ratio * n + _SLACK), least))

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after `early` and after `late`."""
        return tuple(sorted(set(self._places(n_layers))))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by attention from the text, in the samples whose turn it is."""
        import torch

        early, late = self._places(context.n_layers)
        last_turn = context.layer > early or early == late
        counts = []
        for entered, offered in zip(context.entered.tolist(), context.offered.tolist(), strict=True):
            waits = not last_turn and self._is_complex(entered, offered)
            counts.append(entered if waits else budget(self.retain, offered))
        text = context.text_rows
        rows = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
        scores = context.scores(rows, places=context.query_places)
        return context.best(scores, torch.tensor(counts, dtype=torch.int64, device="cpu"))

    def _places(self, n_layers: int) -> tuple[int, int]:
        """Layers run before the second cut of simple and of complex samples."""
        early = resolve_layer(self.early, n_layers, "early")
        return early, max(early, resolve_layer(self.late, n_layers, "late"))

    def _is_complex(self, entered: int, offered: int) -> bool:
        """True if more entered than pictures of the third class would leave.

        Several pictures in a sample lose a token each to rounding, so the middle of second and third class decides.
        """
        second, third = (self.entering(ratio, offered) for ratio in self.ratios[1:3])
        return entered >= second or 2 * entered > second + third


def grey_entropy(patches: Patches, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Entropy of the grey levels in each unit, in nats.

    Grey is 0.299 red + 0.587 green + 0.114 blue, cut to whole numbers from 0 to 255. The frames of one step in time
    count together, which changes nothing for a picture, whose frames are equal.

    Returns:
        (u,) float32.
    """
    import torch

    found = []
    for part in patches.pixels.split(_UNITS_AT_ONCE):
        colours = part.float().reshape(len(part), patches.merge**2, patches.channels, -1)
        shift, scale = colours.new_tensor(mean), colours.new_tensor(std)
        levels = ((colours * scale[:, None] + shift[:, None]) * 255).round().clamp(0, 255).long()
        grey = (299 * levels[:, :, 0] + 587 * levels[:, :, 1] + 114 * levels[:, :, 2]).flatten(1) // 1000
        counts = colours.new_zeros(len(part), 256).scatter_add_(1, grey, torch.ones_like(grey, dtype=torch.float32))
        share = counts / grey.shape[1]
        found.append(-torch.special.xlogy(share, share).sum(dim=1))
    return torch.cat(found)


PRESETS = (
    Preset(
        "erase-qwen3",
        functools.partial(
            ERASE,
            thresholds=(1.610, 0.227, 0.056),
            ratios=(0.845, 0.776, 0.757, 0.194),
            early=4,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        ERASE,
        "ERASE with the numbers fitted for Qwen3-VL-8B",
        "arXiv 2605.09982",
    ),
)
