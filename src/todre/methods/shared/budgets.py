"""Budgets: shares of parts, and counts of tokens whose mean over the decoder's layers is what was asked for.

Papers mean two things by "n tokens": n enter the LLM, or n are there on average over its layers (SparseVLM, later
tables of FastV and PyramidDrop, the Information Horizon). All functions here are plain arithmetic on counts. What is
left after layer K means K layers have run with what was there before, and the others run with what is left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from todre.errors import InvalidValueError
from todre.methods.base import budget

Counting = Literal["input", "layer-average"]

_SLACK = 1e-9  # products of fractions and counts miss whole numbers by rounding


def shares(total: int, sizes: list[int]) -> list[int]:
    """Split `total` over parts in proportion to `sizes` by largest remainder, never more than a part holds."""
    whole = sum(sizes)
    total = min(total, whole)
    quotas = [total * size // whole for size in sizes]
    remainders = [total * size % whole for size in sizes]
    for part in sorted(range(len(sizes)), key=lambda part: (-remainders[part], part))[: total - sum(quotas)]:
        quotas[part] += 1
    return quotas


def layer_average(entered: int, layers: Sequence[int], counts: Sequence[int], n_layers: int) -> float:
    """Mean over layers of the tokens that each layer sees.

    Args:
        entered: tokens that the first layer sees.
        layers: counts of layers run after which tokens leave, ascending.
        counts: tokens left after each.
        n_layers: decoder layers.
    """
    bounds = [0, *layers, n_layers]
    held = [entered, *counts]
    spans = (after - before for before, after in itertools.pairwise(bounds))
    return sum(span * count for span, count in zip(spans, held, strict=True)) / n_layers


def leaving(mean: float, entered: int, layer: int, n_layers: int) -> int:
    """Most tokens that may be left after `layer` so that no more than `mean` are there on average over the layers.

    Raises:
        InvalidValueError: the layers before already take more than `mean` allows.
    """
    if mean >= entered:
        return entered
    spare = left_over(mean, entered, layer, n_layers)
    return math.floor(spare / max(1, n_layers - layer) + _SLACK)


def entering(mean: float, left: int, layer: int, n_layers: int) -> int:
    """Most tokens that may enter so that, with `left` of them left after `layer`, the mean over layers is `mean`.

    Raises:
        InvalidValueError: what is left alone takes more than `mean` allows.
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
    """Tokens left after each stage, in the proportions `shape`, with a mean over layers of `mean`.

    The counts are the largest that do not exceed the mean; they fall short of it by less than one token.

    Args:
        mean: tokens on average over the layers.
        entered: tokens that the first layer sees; no stage leaves more.
        layers: counts of layers run, ascending.
        shape: what the stages leave in relation to each other: at least 0, and not increasing.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: the layers before the first stage already take more than `mean` allows.
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
    """Tokens left after each stage if each of `steps` equal steps leaves the same share of what it found.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: `input`: what is left after the last step, exactly; `layer-average`: the mean over all layers, at most
            and within one token.
        entered: tokens that entered the decoder.
        stages: (count of layers run, number of the step from 0), ascending.
        steps: how many there are.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: a layer average cannot be met.
    """
    wanted = budget(retain, entered)
    if wanted >= entered:
        return (entered,) * len(stages)
    layers = [layer for layer, _ in stages]

    def counts_at(rate: float) -> tuple[int, ...]:
        return tuple(math.floor(entered * rate ** (step + 1) + _SLACK) for _, step in stages)

    if counting == "input":
        return (*counts_at((wanted / entered) ** (1 / steps))[:-1], wanted)
    left_over(wanted, entered, layers[0], n_layers)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fits = layer_average(entered, layers, counts_at(middle), n_layers) <= wanted + _SLACK
        low, high = (middle, high) if fits else (low, middle)
    return counts_at(low)


def ramp(retain: float, counting: Counting, entered: int, layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Tokens left after each of `layers` if each drops as many as any other, to within one.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: `input`: what is left after the last layer, exactly; `layer-average`: the mean over all layers, at
            most and within one token.
        entered: tokens that entered the decoder.
        layers: counts of layers run, ascending.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: a layer average cannot be met.
    """
    wanted = budget(retain, entered)

    def counts_at(left: int) -> tuple[int, ...]:
        return tuple(entered - (entered - left) * (place + 1) // len(layers) for place in range(len(layers)))

    if counting == "input" or wanted >= entered or not layers:
        return counts_at(wanted)
    low, high = 0, entered
    if layer_average(entered, layers, counts_at(0), n_layers) > wanted + _SLACK:
        least = layer_average(entered, layers, counts_at(0), n_layers)
        raise InvalidValueError(
            f"A layer average of {wanted} visual tokens cannot be met: {entered} tokens that leave evenly after "
            f"{len(layers)} of {n_layers} layers are at least {least:g} on average; raise retain, or start earlier."
        )
    while high - low > 1:
        middle = (low + high) // 2
        fits = layer_average(entered, layers, counts_at(middle), n_layers) <= wanted + _SLACK
        low, high = (middle, high) if fits else (low, middle)
    return counts_at(low)


def left_after(retain: float, counting: Counting, entered: int, layer: int, n_layers: int) -> int:
    """Tokens that a method which acts once, after `layer`, leaves of those that entered.

    Args:
        retain: fraction of the tokens that entered, or count.
        counting: `input`: what is left after the layer; `layer-average`: the mean over all layers.
        entered: tokens that entered the decoder.
        layer: count of layers run.
        n_layers: decoder layers.

    Raises:
        InvalidValueError: a layer average cannot be met.
    """
    wanted = budget(retain, entered)
    return wanted if counting == "input" else leaving(wanted, entered, layer, n_layers)


def left_over(mean: float, entered: int, layer: int, n_layers: int) -> float:
    """What the mean leaves for the layers after `layer`, in tokens times layers."""
    spare = mean * n_layers - entered * layer
    if spare < -_SLACK or layer >= n_layers:
        least = entered * layer / n_layers
        raise InvalidValueError(
            f"A layer average of {mean:g} visual tokens cannot be met: {entered} tokens in the first {layer} of "
            f"{n_layers} layers are {least:g} on average already; raise retain, act earlier, or let fewer tokens enter."
        )
    return max(0.0, spare)
