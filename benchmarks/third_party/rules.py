"""Every rule of todre that needs vision alone, on the tokens of one picture without [CLS], text or decoder.

Rules whose picks form an order are asked once, for the largest budget; smaller budgets keep the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todre import select
from todre.methods import registry
from todre.methods.base import Method
from todre.methods.views.visual_tokens import Places, VisualTokens
from todre.runtime.selection import choose
from todre.tensors.attention import AttentionInputs, cls_attention, received_attention
from todre.tensors.token_facts import Place, Signal
from todre.tower.signals import layer_index


@dataclass(frozen=True)
class PictureTokens:
    """The visual tokens of one picture, in raster order.

    Attributes:
        states: (n, d).
        grid: rows and columns.
        salient: by layer, (n,) attention that each token gets: of the [CLS] where there is one, else the mean received.
        keys: by layer, (n, c) keys averaged over heads.
        cls: whether `salient` is attention of a [CLS].
        seed: of random choices.
    """

    states: Tensor
    grid: tuple[int, int]
    salient: Sequence[Tensor]
    keys: Sequence[Tensor]
    cls: bool
    seed: int

    def __len__(self) -> int:
        return len(self.states)

    def shown_to(self, method: Method) -> VisualTokens:
        """The record that `method` is shown before a decoder."""
        signals: dict[Signal, Tensor] = {}
        for request in method.signals():
            values = self.keys if request.kind == "keys" else self.salient
            if request.kind != "grid":
                signals[request] = values[layer_index(request.layer, len(values), "of the picture")]
        place, zero = Place.raster(*self.grid), torch.zeros(len(self), dtype=torch.int64, device="cpu")
        none, every = zero.bool(), torch.ones(len(self), dtype=torch.bool, device="cpu")
        return VisualTokens(
            embeddings=self.states, signals=signals, newline=none, tile=zero, picture=zero, frame=zero, row=place.row,
            column=place.column, text=self.states[:0],
            places=Places(none, zero, zero, zero, place.row, place.column, every),
        )  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What a rule leaves of a picture: (k,) int64 ascending, and their new states (k, d) if it merges."""

    index: Tensor
    states: Tensor | None = None


Rule = Callable[[PictureTokens, Sequence[int]], list[Kept]]
"""From a picture's tokens and budgets to what is kept at each budget."""


def _in_order(order: Callable[[PictureTokens, int], Tensor]) -> Rule:
    def rule(tokens: PictureTokens, budgets: Sequence[int]) -> list[Kept]:
        picks = order(tokens, max(budgets))
        return [Kept(picks[:budget].sort().values) for budget in budgets]

    return rule


def _by_method(name: str, **settings: object) -> Rule:
    def rule(tokens: PictureTokens, budgets: Sequence[int]) -> list[Kept]:
        found = []
        for budget in budgets:
            method = registry.create(name, retain=budget, **settings)
            shown = tokens.shown_to(method)
            choice = choose(method, shown)
            index = torch.arange(len(tokens), dtype=torch.int64, device="cpu") if choice.keep is None else choice.keep
            merged = choice.embeddings is not shown.embeddings
            found.append(Kept(index, choice.embeddings[index] if merged else None))
        return found

    return rule


def _importance(tokens: PictureTokens) -> Tensor:
    values = tokens.salient[-1].double()
    return (values - values.min()) / (values.max() - values.min())


def _random(tokens: PictureTokens, k: int) -> Tensor:
    generator = torch.Generator().manual_seed(tokens.seed)
    return torch.randperm(len(tokens), generator=generator, dtype=torch.int64, device="cpu")[:k]


RULES: Mapping[str, Rule] = {
    "random": _in_order(_random),
    "uniform": _by_method("uniform"),
    "pooling": _by_method("pooling"),
    "top-k": _in_order(lambda tokens, k: tokens.salient[-1].argsort(descending=True, stable=True)[:k]),
    "todre": _in_order(lambda tokens, k: select.max_sum_order(tokens.states, k, tokens.salient[-1].argmax())),
    "todre, random pivot": _in_order(
        lambda tokens, k: select.max_sum_order(tokens.states, k, select.pivot_random(tokens.states, tokens.seed))
    ),
    "todre-v1": _in_order(lambda tokens, k: select.k_center_order(tokens.states, k, tokens.salient[-1].argmax())),
    "todre-v1, random pivot": _in_order(
        lambda tokens, k: select.k_center_order(tokens.states, k, select.pivot_random(tokens.states, tokens.seed))
    ),
    "divprune": _in_order(
        lambda tokens, k: select.k_center_order(tokens.states, k, select.pivot_isolated(tokens.states))
    ),
    "dpp": _in_order(
        lambda tokens, k: select.dpp_order(tokens.states, k, torch.ones(len(tokens), dtype=torch.float64, device="cpu"))
    ),
    "mmr": _in_order(lambda tokens, k: select.mmr_order(tokens.states, k, _importance(tokens))),
    "gprune": _by_method("gprune"),
    "hiprune": _by_method("hiprune"),
    "hivtp": _by_method("hivtp"),
    "holov": _by_method("holov"),
    "nuwa": _by_method("nuwa"),
    "prumerge": _by_method("prumerge"),
    "prumerge-plus": _by_method("prumerge-plus"),
    "scope": _by_method("scope"),
    "visionzip": _by_method("visionzip"),
    "vispruner": _by_method("vispruner"),
}
"""The rules by the names of todre's methods, or of their parts."""

MERGING = ("pooling", "nuwa", "prumerge", "prumerge-plus", "visionzip")
"""Rules that change the tokens that stay."""

LEFT_OUT = {
    "mmtok": "needs the question",
    "prunesid, agile-threshold": "decompose the tokens anew at each budget, which takes longer than all other rules do",
    "cdpruner": "needs the question; its search with equal quality is the row dpp",
    "cls-top-k, fastervlm": "the row top-k, by attention of [CLS] where there is one, else by attention received",
    "globalcom2": "directs crops; on a picture without crops it is the row top-k",
    "todre-patches": "differs at newline tokens alone; without them it is todre",
    "evs, vidcom2": "compare the frames of a clip",
    "downsample": "resizes the picture before the encoder, and chooses no tokens",
    "history": "divides a budget over several pictures; within one picture it is random, k-center or even spacing",
    "crop-skip, erase, erase-qwen3, pixelprune": "act before a vision tower that todre attaches to",
    "evit, ficoco-v, flowcut, flowcut-anyres, tome": "act in a vision tower that todre attaches to",
    "vflowopt and all rules inside the LLM, stage 2 among them": "read a decoder that holds the visual tokens itself",
}
"""Methods that have no row, and why."""


def salience(inputs: AttentionInputs, leading: int, cls: bool) -> Tensor:
    """Attention that patches get in one layer, (b, n): of the [CLS], or the mean received."""
    return cls_attention(inputs, leading) if cls else received_attention(inputs)[:, leading:]


def mean_keys(inputs: AttentionInputs, leading: int) -> Tensor:
    """Keys of patches in one layer, averaged over heads, (b, n, c)."""
    return inputs.key.float().mean(dim=1)[:, leading:]


def agrees_with_methods(tokens: PictureTokens, budget: int) -> bool:
    """True if the rules that are parts of `todre.select` keep what the registered methods keep."""
    asked = {"todre": {"stages": (1,)}, "todre-v1": {"stages": (1,)}, "divprune": {}, "mmr": {}}
    return all(
        torch.equal(RULES[name](tokens, [budget])[0].index, _by_method(name, **settings)(tokens, [budget])[0].index)
        for name, settings in asked.items()
    )
