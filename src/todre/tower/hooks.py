"""Hooks that reduce tokens inside the vision tower of one model, until `remove`.

The tower gives each layer all tokens and gets all tokens back. In between, from the first reduction on, the layer runs
on the tokens that are left. So recorded hidden states, mergers between layers, and all that follows the tower see the
full grid, and only the tower's layers have to be known.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import watch
from todre.hf.families import Family
from todre.hf.model_parts import base_module
from todre.hf.tower_calls import (
    Arguments,
    entry_states,
    named_arguments,
    replace_entry_states,
    take_states,
    with_attention_mask,
    with_states,
)
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import CompileGuard, Removable, bare, no_compile
from todre.methods.views.vision_tower import Cut, TowerMethod
from todre.tensors.attention import AttentionInputs
from todre.tensors.token_facts import ALIVE, Signal
from todre.tower.crop_run import CropRun
from todre.tower.packed_run import PackedRun
from todre.tower.runs import Lengths, Run, TileRun
from todre.tower.tower_plan import TowerPlan, tower_plan


class TowerReduction:
    """Reduces tokens in the vision towers of `model` by `method`, while it encodes.

    Args:
        model: the model.
        family: the facts about its family.
        method: has `tower_after(n_layers)`, and `merge(context)` or, if it acts before the first layer, `leave_out` or
            `choose_tiles`.

    Raises:
        UnsupportedModelError: tokens of this tower cannot be followed, or the method needs another kind of tower.
        InvalidValueError: the method acts at layers that the tower does not have.
    """

    def __init__(self, model: PreTrainedModel, family: Family, method: TowerMethod) -> None:
        self.local = threading.local()
        self.handles: list[Removable] = []
        base = bare(base_module(model))
        towers = [bare(found) for name in family.towers if (found := getattr(base, name, None)) is not None]
        if not towers:
            raise UnsupportedModelError(
                f"The vision tower of a model of type '{family.model_type}' was not found, so nothing can be merged in "
                "it; use a method that selects before the LLM, such as todre."
            )
        plans = [tower_plan(model, family, tower, method) for tower in towers]
        self.crops = any(plan.crops for plan in plans)
        try:
            for tower, plan in zip(towers, plans, strict=True):
                self._hook(tower, plan)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take all hooks off the model."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    @contextmanager
    def encoding(self, cuts: Sequence[Cut] | None = None) -> Iterator[TowerReduction]:
        """Reduce tokens inside the block, in the towers' calls of this thread.

        Args:
            cuts: how the pictures of the block's one call were cut into tiles; None if they have no thumbnail.
        """
        self.local.calls, self.local.cuts = [], cuts
        try:
            yield self
        finally:
            self.local.calls, self.local.run, self.local.cuts = None, None, None

    def alive(self) -> list[Tensor]:
        """Tokens still there, (tiles, tokens) float32 of 0 and 1, for each tower call.

        All tokens that the tower began with are listed, without [CLS], in the tower's own order; a packed sequence is
        one tile.
        """
        return [run.alive() for run in self.local.calls]

    def layer_lengths(self) -> list[Lengths]:
        """Sequence lengths by layer, for each call of a tower since `encoding` began."""
        return [run.layer_lengths() for run in self.local.calls]

    def complete(self, signals: dict[Signal, list[Tensor]]) -> dict[Signal, list[Tensor]]:
        """Signals of all tokens, from those of the tokens left, and which are alive.

        Args:
            signals: by request, (tiles, tokens, c) for each call of the watched layer since `encoding` began, without
                [CLS]; where a layer attends to packed sequences one by one, (1, tokens, c) for each sequence.

        Returns:
            By request, and for `ALIVE`, (tiles, tokens, c) for each call of a tower. A token that is gone has the
                values of the token it was merged into, or 0.
        """
        calls: list[Run] = self.local.calls
        complete = {request: _complete(calls, request.layer, parts) for request, parts in signals.items()}
        return complete | {ALIVE: [run.alive()[..., None] for run in calls]}

    @property
    def run(self) -> Run | None:
        """The running call of a tower in this thread, or None."""
        return getattr(self.local, "run", None)

    def _hook(self, tower: nn.Module, plan: TowerPlan) -> None:
        """Put the hooks of `plan` on one tower, its layers and their attention."""
        hooks = _TowerHooks(self, plan)
        self.handles.append(tower.register_forward_pre_hook(hooks.before, with_kwargs=True))
        self.handles.append(tower.register_forward_hook(hooks.after, always_call=True))
        for index, layer in enumerate(plan.layers):
            step = _LayerHooks(self, index)
            self.handles.append(layer.register_forward_pre_hook(step.before, with_kwargs=True))
            # Before hooks that are there already: transformers records hidden states by forward hooks that stay on the
            # layers (`output_capturing`, seen in 5.24), and these must see all tokens.
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
    """The hooks around one tower: they begin and end its run."""

    def __init__(self, reduction: TowerReduction, plan: TowerPlan) -> None:
        self.reduction, self.plan = reduction, plan

    @no_compile
    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a run, if this thread encodes.

        Raises:
            UnsupportedModelError: the tower's layers would run again in the backward pass.
        """
        local = self.reduction.local
        if getattr(local, "calls", None) is None:
            return
        if any(getattr(layer, "gradient_checkpointing", False) and layer.training for layer in self.plan.layers):
            raise UnsupportedModelError(
                "The vision tower runs its layers a second time in the backward pass (gradient checkpointing), where "
                "tokens cannot be merged again; call model.gradient_checkpointing_disable(), or put the tower in eval "
                "mode."
            )
        arguments = named_arguments(module, args, kwargs)
        local.run = self._run(arguments, local.cuts)

    def _run(self, arguments: Arguments, cuts: Sequence[Cut] | None) -> Run:
        """The kind of run that the plan needs."""
        if self.plan.packed:
            return PackedRun(self.plan, arguments)
        return CropRun(self.plan, arguments, cuts) if self.plan.crops and cuts is not None else TileRun(self.plan)

    @no_compile
    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        """End the run, and put recorded states back at full length."""
        local = self.reduction.local
        run: Run | None = getattr(local, "run", None)
        local.run = None
        if run is None or output is None:
            return output
        local.calls.append(run)
        # transformers records the states that enter the first layer after that layer's own pre-hooks (5.24), so with
        # tokens already left out; they are put back here.
        entered = entry_states(output)
        if entered is not None:
            replace_entry_states(output, run.whole(entered))
        return output


class _LayerHooks:
    """The hooks around one layer: shorten its input, put its output back."""

    def __init__(self, reduction: TowerReduction, index: int) -> None:
        self.reduction, self.index = reduction, index

    @no_compile
    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """The layer's arguments for the tokens that are left; None leaves them."""
        run = self.reduction.run
        if run is None:
            return None
        arguments = named_arguments(module, args, kwargs)
        hidden = take_states(arguments)
        short = run.enter(self.index, hidden, arguments)
        if short is hidden:
            return None
        arguments = run.arguments(arguments)
        return ((short,), arguments) if args else ((), with_states(arguments, short))

    @no_compile
    def weigh(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """The attention's arguments with a bias by token size; None leaves them."""
        run = self.reduction.run
        bias = run.bias(module) if run is not None else None
        return None if bias is None else ((), with_attention_mask(named_arguments(module, args, kwargs), bias))

    @no_compile
    def listen(self, attention_inputs: AttentionInputs) -> None:
        """Keep the layer's attention inputs for the method."""
        run = self.reduction.run
        if run is not None:
            run.attention_inputs = attention_inputs

    @no_compile
    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        """The layer's output for all tokens."""
        run = self.reduction.run
        if run is None or output is None:
            return output
        if isinstance(output, tuple):
            return (run.leave(self.index, output[0]), *output[1:])
        return run.leave(self.index, output)


def _complete(calls: list[Run], layer: float, parts: list[Tensor]) -> list[Tensor]:
    """One signal of all calls, with each call's tokens at full length."""
    if calls and calls[0].plan.packed and parts:
        ends = torch.cat(parts, dim=1).split([run.kept_length() for run in calls], dim=1)
        parts = list(ends)
    return [run.complete_signal(layer, part) for run, part in zip(calls, parts, strict=True)] if parts else []
