"""Reduce tokens inside the vision tower of one given model, with hooks that `remove` takes away.

Each layer is given all tokens and hands on all tokens, as the tower expects; in between, from the first reduction on,
it runs on those that are left. So recorded hidden states, mergers between layers, and all that comes after the tower
see their grid, and nothing in the tower need be known but its layers.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.fields import fitted
from todre.hf import visual_layouts as layouts
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.families import Family
from todre.hf.leading_tokens import dropped_by, leading_of
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import CompileGuard, Removable, bare, no_compile
from todre.methods.views.vision_tower import Cut, TowerMethod
from todre.tensors.attention import AttentionInputs
from todre.tensors.token_facts import ALIVE, Signal
from todre.tower.crop_run import CropRun
from todre.tower.runs import Lengths, PackedRun, Plan, Run, TileRun

_PACKING = {"cu_seqlens", "position_embeddings"}
"""Arguments of the layers of towers that pack their pictures into one sequence."""


class TowerReduction:
    """Reduces tokens in the vision towers of `model` as `method` says, while pictures are being encoded.

    Args:
        model: the model.
        family: its facts.
        method: with `tower_after(n_layers)`, and `merge(context)` or, if it acts before the first layer, `leave_out`
            or `choose_tiles`.

    Raises:
        UnsupportedModelError: tokens of this tower cannot be followed, or the method needs another kind of tower.
        InvalidValueError: the method acts at layers that the tower has not.
    """

    def __init__(self, model: PreTrainedModel, family: Family, method: TowerMethod) -> None:
        self.local = threading.local()
        self.handles: list[Removable] = []
        base = bare(model.base_model)
        towers = [bare(found) for name in family.towers if (found := getattr(base, name, None)) is not None]
        if not towers:
            raise UnsupportedModelError(
                f"The vision tower of a model of type '{family.model_type}' was not found, so nothing can be merged in "
                "it; use a method that selects before the LLM, such as todre."
            )
        plans = [_plan(model, family, tower, method) for tower in towers]
        self.crops = any(plan.crops for plan in plans)
        try:
            for tower, plan in zip(towers, plans, strict=True):
                self._hook(tower, plan)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    @contextmanager
    def encoding(self, cuts: Sequence[Cut] | None = None) -> Iterator[TowerReduction]:
        """Reduce in this thread's calls of the towers inside the block; outside it they run as ever.

        Args:
            cuts: how the pictures of the block's one call were cut into tiles; None if they have no thumbnail.
        """
        self.local.calls, self.local.cuts = [], cuts
        try:
            yield self
        finally:
            self.local.calls, self.local.run, self.local.cuts = None, None, None

    def alive(self) -> list[Tensor]:
        """Of each call of a tower since `encoding` began, (tiles, tokens) float32: 1 where a token is still there.

        Tokens are all that the tower began with, [CLS] left out, in its own order; a packed sequence is one tile.
        """
        return [run.alive() for run in self.local.calls]

    def ran(self) -> list[Lengths]:
        """Of each call of a tower since `encoding` began, what its layers ran on."""
        return [run.ran() for run in self.local.calls]

    def complete(self, seen: dict[Signal, list[Tensor]]) -> dict[Signal, list[Tensor]]:
        """What signals saw of the tokens that were left, for all tokens, and beside it which of them are alive.

        Args:
            seen: by request, (tiles, tokens, c) for each call of the watched layer since `encoding` began, [CLS] left
                out; of packed sequences that a layer attends to one by one, (1, tokens, c) for each.

        Returns:
            By request, and for `ALIVE`, (tiles, tokens, c) for each call of a tower. A token that is gone has the
            values of the one it went into, or 0.
        """
        calls: list[Run] = self.local.calls
        complete = {request: _completed(calls, request.layer, parts) for request, parts in seen.items()}
        return complete | {ALIVE: [run.alive()[..., None] for run in calls]}

    @property
    def run(self) -> Run | None:
        """This thread's call of a tower, while it runs."""
        return getattr(self.local, "run", None)

    def _hook(self, tower: nn.Module, plan: Plan) -> None:
        hooks = _TowerHooks(self, plan)
        self.handles.append(tower.register_forward_pre_hook(hooks.before, with_kwargs=True))
        self.handles.append(tower.register_forward_hook(hooks.after, always_call=True))
        for index, layer in enumerate(plan.layers):
            step = _LayerHooks(self, index)
            self.handles.append(layer.register_forward_pre_hook(step.before, with_kwargs=True))
            # before hooks that were there already, such as those by which transformers records hidden states
            self.handles.append(layer.register_forward_hook(step.after, prepend=True))
            self.handles.append(CompileGuard(layer))
            attention = plan.attention[index]
            if index + 1 in plan.after:
                self.handles += watch(attention, step.listen, when=lambda: self.run is not None)
            if not plan.packed:
                self.handles.append(attention.register_forward_pre_hook(step.weigh, with_kwargs=True))
                self.handles.append(CompileGuard(attention, eager=True))
        self.handles.append(CompileGuard(tower))


class _TowerHooks:
    """Begin and end a call of a tower."""

    def __init__(self, reduction: TowerReduction, plan: Plan) -> None:
        self.reduction, self.plan = reduction, plan

    @no_compile
    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        local = self.reduction.local
        if getattr(local, "calls", None) is None:
            return
        if any(getattr(layer, "gradient_checkpointing", False) and layer.training for layer in self.plan.layers):
            raise UnsupportedModelError(
                "The vision tower runs its layers a second time in the backward pass (gradient checkpointing), where "
                "tokens cannot be merged again; call model.gradient_checkpointing_disable(), or put the tower in eval "
                "mode."
            )
        given = _named(module, args, kwargs)
        local.run = self._run(given, local.cuts)

    def _run(self, given: dict[str, Any], cuts: Sequence[Cut] | None) -> Run:
        if self.plan.packed:
            return PackedRun(self.plan, given)
        return CropRun(self.plan, given, cuts) if self.plan.crops and cuts is not None else TileRun(self.plan)

    @no_compile
    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        local = self.reduction.local
        run: Run | None = getattr(local, "run", None)
        local.run = None
        if run is None or output is None:
            return output
        local.calls.append(run)
        recorded = getattr(output, "hidden_states", None)
        if recorded and recorded[0] is not None:
            output.hidden_states = (run.whole(recorded[0]), *recorded[1:])
        return output


class _LayerHooks:
    """Shorten what a layer is given, and put back what it gives."""

    def __init__(self, reduction: TowerReduction, index: int) -> None:
        self.reduction, self.index = reduction, index

    @no_compile
    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        run = self.reduction.run
        if run is None:
            return None
        given = _named(module, args, kwargs)
        hidden = given.pop("hidden_states")
        short = run.enter(self.index, hidden, given)
        if short is hidden:
            return None
        given = run.arguments(given)
        return ((short,), given) if args else ((), given | {"hidden_states": short})

    @no_compile
    def weigh(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        run = self.reduction.run
        bias = run.bias(module) if run is not None else None
        return None if bias is None else ((), _named(module, args, kwargs) | {"attention_mask": bias})

    @no_compile
    def listen(self, seen: AttentionInputs) -> None:
        run = self.reduction.run
        if run is not None:
            run.seen = seen

    @no_compile
    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        run = self.reduction.run
        if run is None or output is None:
            return output
        if isinstance(output, tuple):
            return (run.leave(self.index, output[0]), *output[1:])
        return run.leave(self.index, output)


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name."""
    return dict(zip(inspect.signature(module.forward).parameters, args, strict=False)) | kwargs


def _plan(model: PreTrainedModel, family: Family, tower: nn.Module, method: TowerMethod) -> Plan:
    """How `method` acts in `tower`."""
    layers = _layers(tower)
    asked = set().union(*(inspect.signature(layer.forward).parameters for layer in layers))
    packs = asked >= _PACKING
    name, config = type(tower).__name__, model.config
    known = family.saliency and family.image in ((layouts.merged,) if packs else (layouts.grid, layouts.anyres))
    leading = leading_of(config.vision_config)
    if not layers or not known or leading is None or (asked & _PACKING and not packs):
        raise UnsupportedModelError(
            f"Tokens of the vision tower {name} cannot be followed to visual tokens, so none can be merged in it; "
            "use a method that selects before the LLM, such as todre."
        )
    depth = _depth(config, len(layers))
    after = fitted(f"{type(method).__name__}.tower_after({depth})", method.tower_after(depth), tuple[int, ...])
    if not after or min(after) < 0 or max(after) > depth:
        raise InvalidValueError(
            f"The method acts after layers {list(after)} of a vision tower of which {depth} count; "
            f"give counts from 1 to {depth}."
        )
    crops = after == (0,) and "crops" in method.card.needs
    if crops and family.image is not layouts.anyres:
        raise UnsupportedModelError(
            f"Pictures of a model of type '{family.model_type}' are not known to be cut into a thumbnail and crops, so "
            "no crop can be left out; use another method, such as todre."
        )
    if not crops and packs != (after == (0,)):
        raise UnsupportedModelError(
            f"The vision tower {name} packs its pictures into one sequence, in which tokens cannot be merged; "
            "use a method that acts before it (pixelprune) or after it."
            if packs
            else f"The vision tower {name} has tiles of a fixed size, from which no patches can be left out; "
            "use a method that merges inside the tower (tome) or acts after it."
        )
    if not leading.cls and "cls" in method.card.needs:
        raise UnsupportedModelError(
            f"The vision tower {name} has no [CLS] token, whose attention this method reads; use tome instead."
        )
    if not leading.count and not packs and dropped_by(config, {}):
        raise UnsupportedModelError(
            f"The first token of the vision tower {name} is thrown away, but it is a patch and no [CLS]; "
            "set vision_feature_select_strategy='full', or use a method that selects before the LLM."
        )
    attention = [attention_modules(layer)[0] for layer in layers]
    watched = attention_modules(tower)
    index = {place: attention.index(module) for place, module in enumerate(watched) if module in attention}
    vision = model.config.vision_config
    return Plan(method, layers, attention, after, depth, leading.count, packs, crops, vision, index)


def _layers(tower: nn.Module) -> list[nn.Module]:
    """The tower's layers, each with one attention module; the longest such list."""
    stacks = [
        [bare(layer) for layer in stack]
        for stack in tower.modules()
        if isinstance(stack, nn.ModuleList) and all(len(attention_modules(layer)) == 1 for layer in stack)
    ]
    return max(stacks, key=len, default=[])


def _depth(config: Any, layers: int) -> int:
    """Layers run when features are taken, of those that are read the last."""
    asked = getattr(config, "vision_feature_layer", getattr(config, "vision_feature_layers", None))
    if asked is None:
        return layers
    every = [asked] if isinstance(asked, int) else list(asked)
    return max(layer if layer >= 0 else layers + 1 + layer for layer in every)


def _completed(calls: list[Run], layer: float, parts: list[Tensor]) -> list[Tensor]:
    """What was seen of all calls, with each call's tokens at full length."""
    if calls and calls[0].plan.packed and parts:
        ends = torch.cat(parts, dim=1).split([run.seen_length() for run in calls], dim=1)
        parts = list(ends)
    return [run.completed(layer, part) for run, part in zip(calls, parts, strict=True)] if parts else []
