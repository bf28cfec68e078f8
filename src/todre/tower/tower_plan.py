"""Where a method acts in one vision tower, worked out at attach.

Towers whose tokens cannot be followed are refused here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.fields import fitted
from todre.hf import visual_layouts
from todre.hf.anyres import anyres
from todre.hf.attention_tap import attention_modules
from todre.hf.checkpoint_facts import feature_depth
from todre.hf.families import Family
from todre.hf.leading_tokens import Leading, discarded_count, leading_of
from todre.hf.tower_calls import packs_pictures
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import bare
from todre.methods.views.vision_tower import TowerMethod


@dataclass(frozen=True, kw_only=True)
class TowerPlan:
    """Where a method acts in one tower.

    Attributes:
        method: the method.
        layers: the tower's layers in order.
        attention: their attention modules.
        after: layers (1-based) after which the method is asked; 0 is before the first.
        depth: number of layers that run before features are taken.
        first: tokens before the patches of each tile ([CLS], registers).
        packed: True if pictures are packed into one sequence.
        crops: True if the method leaves out whole tiles.
        config: the tower's config.
        layer_of_attention: by index among all attention modules of the tower, the index (from 0) of its layer.
    """

    method: TowerMethod
    layers: list[nn.Module]
    attention: list[nn.Module]
    after: tuple[int, ...]
    depth: int
    first: int
    packed: bool
    crops: bool
    config: Any
    layer_of_attention: dict[int, int]

    def layer(self, layer: float) -> int:
        """The index (from 0) of a layer that a request names.

        Args:
            layer: an index among attention modules as Python counts, or a share of the depth.
        """
        count = max(self.layer_of_attention) + 1
        place = math.floor(layer * count + 1e-9) if isinstance(layer, float) else layer
        return self.layer_of_attention[place % count]


def tower_plan(model: PreTrainedModel, family: Family, tower: nn.Module, method: TowerMethod) -> TowerPlan:
    """The plan of `method` in `tower`.

    Raises:
        UnsupportedModelError: tokens of this tower cannot be followed, or the method needs another kind of tower.
        InvalidValueError: the method acts at layers that the tower does not have.
    """
    layers = _layers(tower)
    packs, leading = _check_followed(model, family, tower, layers)
    depth = feature_depth(model.config, len(layers))
    after = _acts_after(method, depth)
    crops = after == (0,) and "crops" in method.card.needs
    _check_kind(type(tower).__name__, family, packs=packs, first=after == (0,), crops=crops)
    _check_leading(type(tower).__name__, model.config, leading, method, packs)
    watched = attention_modules(tower)
    attention = [attention_modules(layer)[0] for layer in layers]
    return TowerPlan(
        method=method,
        layers=layers,
        attention=attention,
        after=after,
        depth=depth,
        first=leading.count,
        packed=packs,
        crops=crops,
        config=model.config.vision_config,
        layer_of_attention={
            place: attention.index(module) for place, module in enumerate(watched) if module in attention
        },
    )


def _layers(tower: nn.Module) -> list[nn.Module]:
    """The tower's layers: the longest list of modules with one attention each."""
    stacks = [
        [bare(layer) for layer in stack]
        for stack in tower.modules()
        if isinstance(stack, nn.ModuleList) and all(len(attention_modules(layer)) == 1 for layer in stack)
    ]
    return max(stacks, key=len, default=[])


def _check_followed(
    model: PreTrainedModel, family: Family, tower: nn.Module, layers: list[nn.Module]
) -> tuple[bool, Leading]:
    """True if the tower packs its pictures, and its leading tokens.

    Raises:
        UnsupportedModelError: the tower's tokens cannot be followed to visual tokens.
    """
    packs, leading = packs_pictures(layers), leading_of(model.config.vision_config)
    known = family.saliency and family.image in (
        (visual_layouts.packed_sequence,) if packs else (visual_layouts.grid, anyres)
    )
    if not layers or not known or leading is None or packs is None:
        raise UnsupportedModelError(
            f"Tokens of the vision tower {type(tower).__name__} cannot be followed to visual tokens, so none can be "
            "merged in it; use a method that selects before the LLM, such as todre."
        )
    return packs, leading


def _acts_after(method: TowerMethod, depth: int) -> tuple[int, ...]:
    """Layers (1-based) after which `method` is asked; 0 is before the first.

    Args:
        method: the method.
        depth: number of layers that run before features are taken.

    Raises:
        InvalidValueError: the method names no layers, or layers beyond `depth`.
    """
    after: tuple[int, ...] = fitted(
        f"{type(method).__name__}.tower_after({depth})", method.tower_after(depth), tuple[int, ...]
    )
    if not after or min(after) < 0 or max(after) > depth:
        raise InvalidValueError(
            f"The method acts after layers {list(after)} of a vision tower of which {depth} count; "
            f"give counts from 1 to {depth}."
        )
    return after


def _check_kind(name: str, family: Family, *, packs: bool, first: bool, crops: bool) -> None:
    """Refuse a method that needs the other kind of tower.

    Args:
        name: name of the tower's class.
        family: the facts about the model's family.
        packs: True if the tower packs its pictures into one sequence.
        first: True if the method acts before the first layer.
        crops: True if the method leaves out whole crops.

    Raises:
        UnsupportedModelError: the method needs the other kind.
    """
    if crops and family.image is not anyres:
        raise UnsupportedModelError(
            f"Pictures of a model of type '{family.model_type}' are not known to be cut into a thumbnail and crops, so "
            "no crop can be left out; use another method, such as todre."
        )
    if not crops and packs != first:
        raise UnsupportedModelError(
            f"The vision tower {name} packs its pictures into one sequence, in which tokens cannot be merged; "
            "use a method that acts before it (pixelprune) or after it."
            if packs
            else f"The vision tower {name} has tiles of a fixed size, from which no patches can be left out; "
            "use a method that merges inside the tower (tome) or acts after it."
        )


def _check_leading(name: str, config: Any, leading: Leading, method: TowerMethod, packs: bool) -> None:
    """Refuse methods that need a missing [CLS], and towers that discard a patch.

    Raises:
        UnsupportedModelError: either is the case.
    """
    if not leading.cls and "cls" in method.card.needs:
        raise UnsupportedModelError(
            f"The vision tower {name} has no [CLS] token, whose attention this method reads; use tome instead."
        )
    if not leading.count and not packs and discarded_count(config, {}):
        raise UnsupportedModelError(
            f"The first token of the vision tower {name} is thrown away, but it is a patch and no [CLS]; "
            "set vision_feature_select_strategy='full', or use a method that selects before the LLM."
        )
