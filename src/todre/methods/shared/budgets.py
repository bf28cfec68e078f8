"""Budgets: shares of parts, and token counts that meet a mean over the layers.

Papers mean two things by "n tokens": n enter the LLM, or n is the mean over its layers (SparseVLM, later tables of
FastV and PyramidDrop, the Information Horizon). All functions here are plain arithmetic on counts. Tokens that leave
"after layer K" are seen by the first K layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from todre.errors import InvalidValueError
from todre.methods.base import budget

Counting = Literal["input", "layer-average"]

_SLACK = 1e-9  # rounding: products of fractions and counts miss whole numbers a little


def shares(total: int, sizes: list[int]) -> list[int]:
    """Split `total` over parts in proportion to `sizes`; no part exceeds its size.

    Fractions are rounded by largest remainder.
    """
    whole = sum(sizes)
    total = min(total, whole)
    quotas = [total * size // whole for size in sizes]
    remainders = [total * size % whole for size in sizes]
    for part in sorted(range(len(sizes)), key=lambda part: (-remainders[part], part))[: total - sum(quotas)]:
        quotas[part] += 1
    return quotas


def layer_average(entered: int, layers: Sequence[int], counts: Sequence[int], n_layers: int) -> float:
    """Number of tokens that a decoder layer sees, as a mean over all layers.

    Args:
        entered: tokens that the first layer sees.
        layers: counts of layers run after which tokens leave, ascending.
        counts: tokens left after each of `layers`.
        n_layers: decoder layers.
    """
    bounds = [0, *layers, n_layers]
    held = [entered, *counts]
    spans = (after - before for before, after in itertools.pairwise(bounds))
    return sum(span * count for span, count in zip(spans, held, strict=True)) / n_layers


def count_after(mean: float, entered: int, layer: int, n_layers: int) -> int:
    """Most tokens that may be left after `layer` for a layer average of `mean`.

    Args:
        mean: tokens on average over the layers.
        entered: tokens that the first layer sees.
        layer: count of layers run.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the first layers alone exceed the mean.
    """
    if mean >= entered:
        return entered
    spare = left_over(mean, entered, layer, n_layers)
    return math.floor(spare / max(1, n_layers - layer) + _SLACK)


def count_before(mean: float, left: int, layer: int, n_layers: int) -> int:
    """Most tokens that may enter the decoder for a layer average of `mean`.

    Args:
        mean: tokens on average over the layers.
        left: tokens left after `layer`.
        layer: count of layers run.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: `left` alone exceeds the mean.
    """
    spare = mean * n_layers - left * (n_layers - layer)
    if spare < left * layer - _SLACK:
        raise InvalidValueError(
            f"A layer average of {mean:g} tokens cannot be met with {left} left after layer {layer} of {n_layers}; "
            "leave fewer."
        )
    return math.floor(spare / layer + _SLACK)


def stage_counts(
    mean: float, entered: int, layers: Sequence[int], shape: Sequence[float], n_layers: int
) -> tuple[int, ...]:
    """Tokens left after each stage, in fixed proportions, for one layer average.

    The counts are the largest that do not exceed the mean; they fall short of it by less than one token.

    Args:
        mean: tokens on average over the layers.
        entered: tokens that the first layer sees; no stage leaves more.
        layers: counts of layers run, ascending.
        shape: relative number of tokens that each stage leaves: at least 0, and not increasing.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the layers before the first stage alone exceed the mean.
    """
    if mean >= entered or not layers:
        return (entered,) * len(layers)
    left_over(mean, entered, layers[0], n_layers)

    def counts_at(scale: float) -> tuple[int, ...]:
        return tuple(min(entered, math.floor(scale * part + _SLACK)) for part in shape)

    low, high = 0.0, entered / min((part for part in shape if part > 0), default=1.0)
    for _ in range(80):
        middle = (low + high) / 2
        fits = layer_average(entered, layers, counts_at(middle), n_layers) <= mean + _SLACK
        low, high = (middle, high) if fits else (low, middle)
    return counts_at(low)


def pyramid(
    retain: float, counting: Counting, entered: int, stages: Sequence[tuple[int, int]], steps: int, n_layers: int
) -> tuple[int, ...]:
    """Tokens left after each stage when each step leaves the same share.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: what `retain` counts: `input`, exactly the tokens left after the last step; `layer-average`, the mean
            over all layers, which is met to within one token and not exceeded.
        entered: tokens that entered the decoder.
        stages: (count of layers run, 0-based number of the step), ascending.
        steps: number of steps.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the layer average cannot be met.
    """
    target = budget(retain, entered)
    if target >= entered:
        return (entered,) * len(stages)
    layers = [layer for layer, _ in stages]

    def counts_at(rate: float) -> tuple[int, ...]:
        return tuple(math.floor(entered * rate ** (step + 1) + _SLACK) for _, step in stages)

    if counting == "input":
        return (*counts_at((target / entered) ** (1 / steps))[:-1], target)
    left_over(target, entered, layers[0], n_layers)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fits = layer_average(entered, layers, counts_at(middle), n_layers) <= target + _SLACK
        low, high = (middle, high) if fits else (low, middle)
    return counts_at(low)


def ramp(retain: float, counting: Counting, entered: int, layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Tokens left after each of `layers` if all drop the same number, give or take 1.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: what `retain` counts: `input`, exactly the tokens left after the last of `layers`; `layer-average`,
            the mean over all layers, which is met to within one token and not exceeded.
        entered: tokens that entered the decoder.
        layers: counts of layers run, ascending.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the layer average cannot be met.
    """
    target = budget(retain, entered)

    def counts_at(left: int) -> tuple[int, ...]:
        return tuple(entered - (entered - left) * (place + 1) // len(layers) for place in range(len(layers)))

    if counting == "input" or target >= entered or not layers:
        return counts_at(target)
    low, high = 0, entered
    if layer_average(entered, layers, counts_at(0), n_layers) > target + _SLACK:
        least = layer_average(entered, layers, counts_at(0), n_layers)
        raise InvalidValueError(
            f"A layer average of {target} visual tokens cannot be met: {entered} tokens that leave evenly after "
            f"{len(layers)} of {n_layers} layers are at least {least:g} on average; raise retain, or start earlier."
        )
    while high - low > 1:
        middle = (low + high) // 2
        fits = layer_average(entered, layers, counts_at(middle), n_layers) <= target + _SLACK
        low, high = (middle, high) if fits else (low, middle)
    return counts_at(low)


def left_after(retain: float, counting: Counting, entered: int, layer: int, n_layers: int) -> int:
    """Tokens left by a method that acts once, after `layer`.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, the mean over all
            layers.
        entered: tokens that entered the decoder.
        layer: count of layers run.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the layer average cannot be met.
    """
    target = budget(retain, entered)
    return target if counting == "input" else count_after(target, entered, layer, n_layers)


def left_over(mean: float, entered: int, layer: int, n_layers: int) -> float:
    """Budget that remains for the layers after `layer`, in tokens times layers.

    Args:
        mean: tokens on average over all layers.
        entered: tokens that the first `layer` layers see.
        layer: count of layers run.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the first `layer` layers alone exceed the mean, or no layer comes after them.
    """
    spare = mean * n_layers - entered * layer
    if spare < -_SLACK or layer >= n_layers:
        least = entered * layer / n_layers
        raise InvalidValueError(
            f"A layer average of {mean:g} visual tokens cannot be met: {entered} tokens in the first {layer} of "
            f"{n_layers} layers are {least:g} on average already; raise retain, act earlier, or let fewer tokens enter."
        )
    return max(0.0, spare)
