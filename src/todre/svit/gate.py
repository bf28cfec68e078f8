"""Gates by which tokens go around a block of a vision tower (SViT).

arXiv 2306.07050. Tokens that go around a block stay in the feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todre.hf.decoder_runs import split_states
from todre.hf.keywords import MASK, STATES

RATIO_WEIGHT = 4.0
Choose = Callable[[int, Tensor], Tensor]
"""Called with a gated block (0-based) and the patches before it (t, s, width).

Returns a (t, s) tensor, 1 for patches that go through the block.
"""


class Gate(nn.Module):
    """Gate: LayerNorm and a perceptron of width → width / 4 → 2 logits.

    The first logit stands for going around the block, the second for going through.

    Args:
        width: channels of the tower's hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, dtype=torch.float32, device="cpu")
        self.first = nn.Linear(width, width // 4, dtype=torch.float32, device="cpu")
        self.second = nn.Linear(width // 4, 2, dtype=torch.float32, device="cpu")
        with torch.no_grad():
            opening = torch.tensor([0.0, 2.0], dtype=torch.float32, device="cpu")  # at first most tokens go through
            self.second.bias.copy_(opening)

    def forward(self, hidden: Tensor) -> Tensor:
        """(t, s, 2) logits of hidden states (t, s, width)."""
        logits: Tensor = self.second(F.gelu(self.first(self.norm(hidden))))
        return logits


def straight_through(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """(t, s) decisions, 0 or 1, with the gradient of a Gumbel-softmax sample.

    With `generator`, the decisions are a sample at temperature 1; without it, they are the argmax, without a gradient.
    """
    if generator is None:
        return (logits[..., 1] > logits[..., 0]).to(logits.dtype)
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float32, device="cpu").clamp(1e-6, 1 - 1e-6)
    soft = (logits - (-uniform.log()).log()).softmax(dim=-1)[..., 1]
    hard = (soft > 0.5).to(soft.dtype)
    return hard + soft - soft.detach()


def ratio_loss(passed: Sequence[Tensor], targets: Sequence[float]) -> Tensor:
    """Mean over gates of (share of tokens that go through - target)², over the batch."""
    return torch.stack([(one.mean() - target) ** 2 for one, target in zip(passed, targets, strict=True)]).mean()


@dataclass
class Gating:
    """Masks of the gates in the calls of a tower inside `gated`.

    Attributes:
        passed: for each call of each gated block, (t, s), 1 where a token went through; [CLS] is left out.
    """

    passed: list[Tensor] = field(default_factory=list)


class Chooser:
    """Chooses at each gated block which tokens go through.

    Args:
        gates: one for each gated block; None draws at random.
        generator: for the Gumbel noise, or the random draws; None takes the gates' argmax.
        shares: for random draws, the share of tokens that goes through each block.
    """

    def __init__(
        self,
        gates: nn.ModuleList | None,
        generator: torch.Generator | None = None,
        shares: Sequence[float] = (),
    ) -> None:
        self.gates, self.generator, self.shares = gates, generator, shares

    def __call__(self, place: int, hidden: Tensor) -> Tensor:
        """(t, s) choice for patches (t, s, width) before gated block `place` (0-based)."""
        if self.gates is not None:
            return straight_through(self.gates[place](hidden), self.generator)
        drawn = torch.rand(hidden.shape[:2], generator=self.generator, dtype=torch.float32, device="cpu")
        return (drawn < self.shares[place]).to(hidden.dtype)


class FixedRate:
    """Chooses the same number of tokens in every tile, by the highest gate logits.

    Ties go to the first token.

    Args:
        gates: one for each gated block.
        shares: share of tokens that goes through each block; not rising if `back` is False.
        back: whether a token that went around one block may go through a later one.
    """

    def __init__(self, gates: nn.ModuleList, shares: Sequence[float], back: bool) -> None:
        self.gates, self.shares, self.back = gates, shares, back
        self.left: Tensor | None = None

    def __call__(self, place: int, hidden: Tensor) -> Tensor:
        """(t, s) choice for patches (t, s, width) before gated block `place` (0-based)."""
        logits = self.gates[place](hidden)
        scores = logits[..., 1] - logits[..., 0]
        if place and not self.back and self.left is not None:
            scores = scores.masked_fill(self.left < 0.5, float("-inf"))
        order = scores.argsort(dim=1, descending=True, stable=True)
        count = round(self.shares[place] * hidden.shape[1])
        self.left = torch.zeros_like(scores).scatter_(1, order[:, :count], 1.0)
        return self.left


def came_back(passed: Sequence[Tensor]) -> list[float]:
    """Share of a later block's tokens that went around an earlier block, by block."""
    shares, always = [], passed[0]
    for through in passed[1:]:
        shares.append(float((through * (1 - always)).sum() / through.sum()))
        always = always * through
    return shares


@contextmanager
def gated(blocks: Sequence[nn.Module], choose: Choose) -> Iterator[Gating]:
    """Context in which x ← m · block(x) + (1 - m) · x in `blocks` of a CLIP tower.

    Each block has a mask m of its own.

    Tokens that go through a block do not see the tokens that go around. Tokens that go around stay in the feature map,
    and the next gate decides about them again. [CLS], the first token, goes through every block. The
    result is exact, but no work is skipped.
    """
    gating, handles = Gating(), []
    masks: dict[int, tuple[Tensor, Tensor]] = {}

    def before(place: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden, rest = split_states(args, kwargs)
            passes = choose(place, hidden[:, 1:])
            gating.passed.append(passes)
            mask = torch.cat([torch.ones_like(passes[:, :1]), passes], dim=1)
            masks[place] = mask, hidden
            bias = torch.zeros_like(mask).masked_fill(mask.detach() < 0.5, torch.finfo(mask.dtype).min)
            return (), rest | {STATES: hidden, MASK: bias[:, None, None].expand(-1, 1, hidden.shape[1], -1)}

        return hook

    def after(place: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            mask, hidden = masks.pop(place)
            done = output[0] if isinstance(output, tuple) else output
            mixed = mask[..., None] * done + (1 - mask[..., None]) * hidden
            return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

        return hook

    for place, block in enumerate(blocks):
        handles.append(block.register_forward_pre_hook(before(place), with_kwargs=True))
        handles.append(block.register_forward_hook(after(place), prepend=True))
    try:
        yield gating
    finally:
        for handle in handles:
            handle.remove()
