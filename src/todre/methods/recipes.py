"""Recipes of the Information Horizon paper: rank early, then draw or drop.

"When Token Pruning is Worse than Random" (arXiv 2512.07580) finds that from some layer on, ranking tokens is no better
than chance. The paper gives counts for 576 tokens and 32 layers; the recipes turn them into shares for any picture and
depth. The number in a recipe's name is its count of tokens for 576 tokens and 32 layers, as a mean over layers.
"""

from __future__ import annotations

from typing import Any

from todre.methods.base import Method, Preset
from todre.methods.card import Card
from todre.methods.compose import Compose
from todre.methods.dart import DART
from todre.methods.divprune import DivPrune
from todre.methods.random_deep import RandomDeep
from todre.methods.vtw import VTW

_PAPER = "arXiv 2512.07580"
_TOKENS, _LAYERS = 576, 32


def divprune_random(at_input: int, deep: int, layer: int, seed: int = 0, **fields: Any) -> Method:
    """DivPrune before the LLM, then `deep` random ones of its tokens after `layer`.

    Args:
        at_input: tokens that enter the LLM, of 576.
        deep: tokens after `layer`, of 576.
        layer: layers run before the draw, of 32.
        seed: seed of the draw.
        fields: further fields of `Compose`.
    """
    return Compose(
        DivPrune(retain=at_input / _TOKENS),
        RandomDeep(layer=layer / _LAYERS, retain=deep / at_input, seed=seed),
        **fields,
    )


def dart_random(first: int, kept: int, layer: int, deep: int, seed: int = 0, **fields: Any) -> Method:
    """DART after `first` layers, then `deep` random tokens after `layer`.

    Args:
        first: layers run before DART, of 32.
        kept: tokens that DART keeps, of 576.
        layer: layers run before the draw, of 32.
        deep: tokens after `layer`, of 576.
        seed: seed of the draw.
        fields: further fields of `Compose`.
    """
    return Compose(
        DART(layer=first / _LAYERS, retain=kept / _TOKENS),
        RandomDeep(layer=layer / _LAYERS, retain=deep / _TOKENS, seed=seed),
        **fields,
    )


def divprune_vtw(at_input: int, layer: int, **fields: Any) -> Method:
    """DivPrune before the LLM, no visual token after `layer`.

    Args:
        at_input: tokens that enter the LLM, of 576.
        layer: layers run with visual tokens, of 32.
        fields: further fields of `Compose`.
    """
    return Compose(DivPrune(retain=at_input / _TOKENS), VTW(layer=layer / _LAYERS), **fields)


def _preset(name: str, create: Any, summary: str, needs: tuple[str, ...], *counts: int, follows: str = "") -> Preset:
    acts = ("reduce",) if name.startswith("dart") else ("select", "reduce")
    settings = ("positions", "seed") if "random" in name else ("positions",)
    card = Card(
        "CVPR 2026", acts, needs, "That of its methods.", follows or "Positions are kept; their code renumbers."
    )
    return Preset(
        name, lambda **fields: create(*counts, **fields), Compose, summary, _PAPER, card=card, settings=settings
    )


_ARITHMETIC = "The printed 284 tokens and layer 20 give a mean of 177.5, not the stated 192. Positions are kept."

PRESETS = (
    _preset("divprune+random-192", divprune_random, "DivPrune, then random after 20 of 32 layers", (), 284, 38, 20),
    _preset("divprune+random-64", divprune_random, "DivPrune, then random after 20 of 32 layers", (), 96, 10, 20),
    _preset("dart+random-192", dart_random, "DART, then random deep inside", ("attention", "hidden"), 2, 252, 20, 38),
    _preset("dart+random-64", dart_random, "DART, then random deep inside", ("attention", "hidden"), 1, 60, 20, 27),
    _preset("divprune+vtw-192", divprune_vtw, "DivPrune, then nothing visual", (), 284, 20, follows=_ARITHMETIC),
    _preset("divprune+vtw-64", divprune_vtw, "DivPrune, then nothing visual", (), 98, 21),
)
