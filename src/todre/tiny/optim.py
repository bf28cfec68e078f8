"""Optimisers and the learning-rate schedule of training.

Muon updates the hidden matrices and AdamW the rest; the rate falls to zero when the budget ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Nearest semi-orthogonal matrices, by a quintic Newton–Schulz iteration.

    Based on: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).

    Args:
        matrices: (n, rows, columns) float32.
        steps: iterations.
    """
    a, b, c = _COEFFICIENTS
    flip = matrices.shape[-2] > matrices.shape[-1]
    x: torch.Tensor = matrices.mT if flip else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with an orthogonalised update, in float32.

    Matrices of one shape are updated in one batch.

    Args:
        params: 2-D parameters only.
        lr: learning rate; the update is scaled by sqrt(max(1, rows / columns)).
        momentum: momentum of the gradient average.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, members in by_shape.items():
                updates = orthogonalise(torch.stack([self._momentum(p, group["momentum"]) for p in members]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(members, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def _momentum(self, parameter: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        buffer: torch.Tensor = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)


def make_optimizers(
    hidden: list[torch.nn.Parameter], rest: list[torch.nn.Parameter], lr: float
) -> list[torch.optim.Optimizer]:
    """Muon for `hidden` at rate `lr`, and AdamW for `rest` at an eighth of it.

    Each parameter group keeps its peak rate as "peak".
    """
    optimizers: list[torch.optim.Optimizer] = []
    if hidden:
        optimizers.append(Muon(hidden, lr=lr, weight_decay=0.02))
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=lr / 8, betas=(0.9, 0.98), weight_decay=0.0))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def split_parameters(named: Iterable[tuple[str, torch.nn.Parameter]]) -> tuple[list[Any], list[Any]]:
    """Parameters in two lists: hidden matrices, and everything else.

    Embeddings, heads, norms, biases and convolutions go into the second list.
    """
    hidden: list[Any] = []
    rest: list[Any] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        inner = parameter.ndim == 2 and not any(word in name for word in ("embed", "lm_head", "head", "symbols"))
        (hidden if inner else rest).append(parameter)
    return hidden, rest


@dataclass
class Budget:
    """Length of a stage in steps or minutes, and the share done across restarts.

    Args:
        steps: number of steps, or None to go by time.
        minutes: minutes of training, or None to go by steps.
        spent: seconds already used by earlier runs of the stage.
        cooldown: share of the budget at the end, over which the learning rate falls linearly to 0.
        warmup: number of steps at the start, over which the learning rate rises.
    """

    steps: int | None
    minutes: float | None
    spent: float = 0.0
    cooldown: float = 0.45
    warmup: int = 20

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training so far, earlier runs of the stage included."""
        return self.spent + time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Share of the budget used before step `step`, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / max(1, self.steps))
        return min(1.0, self.elapsed() / (60 * (self.minutes or 1.0)))

    def rate(self, step: int, progress: float) -> float:
        """Factor on the peak learning rate."""
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.0, (1 - progress) / self.cooldown))
