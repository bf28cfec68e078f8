"""Conditions to compare: a method, or a control on the picture or the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from todre.fields import Checked
from todre.fields.kinds import Count
from todre.methods.base import Method, NoPruning
from todre.methods.cls_top_k import CLSTopK
from todre.methods.random import RandomTokens
from todre.methods.shared.identity import identity_of
from todre.methods.shared.seeds import reseeded
from todre.methods.todre import ToDRE

_SEEDS_PER_CONDITION = 10**6


@dataclass(frozen=True)
class Condition(Checked):
    """One way of answering.

    Args:
        name: the name in results, unique within a run.
        method: the method that prunes.
        picture: `true`, or `grey`: a plain grey picture of the same size, the blind control.
        first_layers: number of decoder layers to run, as a control that deletes the others; None for all.
    """

    name: str
    method: Method
    picture: Literal["true", "grey"] = "true"
    first_layers: Count | None = None

    def method_for(self, group: int) -> Method:
        """The method for one group of pictures, with a random draw for this group.

        Groups have different draws, so that no single draw decides a comparison.
        """
        return reseeded(self.method, lambda seed: seed * _SEEDS_PER_CONDITION + group)

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON, with hashes of the files that the method reads."""
        values: dict[str, Any] = {"name": self.name, **identity_of(self.method), "picture": self.picture}
        return values if self.first_layers is None else values | {"first_layers": self.first_layers}


def label(name: str, retain: float, seed: int | None = None, stage_one: bool = False) -> str:
    """Name of a condition, such as `todre@0.1`, `random@0.1#2` or `todre/1@0.1`.

    `#2` names the draw, and `/1` stage 1 alone.
    """
    return f"{name}{'/1' if stage_one else ''}@{retain:g}{'' if seed is None else f'#{seed}'}"


NONE = Condition("none", NoPruning())
BLIND = Condition("blind", NoPruning(), picture="grey")


def random_conditions(retain: float, seeds: Sequence[int]) -> list[Condition]:
    """Conditions of random pruning, one for each seed."""
    return [Condition(label("random", retain, seed), RandomTokens(retain=retain, seed=seed)) for seed in seeds]


def comparison(retains: Sequence[float], seeds: Sequence[int], stage_one: bool = False) -> list[Condition]:
    """Conditions of the held-out comparison: none, then every method at each budget.

    The methods are ToDRE v2 and v1, [CLS] top-k and random; `stage_one` adds ToDRE's stage 1 alone.
    """
    conditions = [NONE]
    for retain in retains:
        conditions += [
            Condition(label("todre", retain), ToDRE(retain=retain)),
            Condition(label("todre-v1", retain), ToDRE.v1(retain=retain)),
            Condition(label("cls-top-k", retain), CLSTopK(retain=retain)),
            *random_conditions(retain, seeds),
        ]
        if stage_one:
            conditions += [
                Condition(label("todre", retain, stage_one=True), ToDRE(retain=retain, stages=(1,))),
                Condition(label("todre-v1", retain, stage_one=True), ToDRE.v1(retain=retain, stages=(1,))),
            ]
    return conditions
