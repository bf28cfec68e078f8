"""One method on one model: the patches on the instance, all removed at the end.

Three forwards are patched, and each runs inside the one before: the model's (`_run_model`) announces the media that it
is given, the base's (`_run_base`) reads the prompt, and the decoder's (`DecoderForward.run`) prunes.
"""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch

from todre.errors import UnprunedWarning, UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, Door, cache_of
from todre.hf.contract import check_release
from todre.hf.decoder import decoder_of
from todre.hf.families import family_of
from todre.hf.keywords import MASKS_FOR_GENERATE
from todre.hf.model_parts import base_module
from todre.hf.running_forwards import RunningForwards
from todre.hf.versions import PreTrainedModel, masks_for_generate
from todre.hf.wrappers import (
    ForwardPatch,
    InstancePatch,
    Removable,
    bare,
    check_whole,
    in_forward,
    no_compile,
    no_compile_shallow,
)
from todre.methods.base import Method
from todre.methods.guard import Guard
from todre.report import PruningReport
from todre.runtime.decoder_forward import DecoderForward, set_aside
from todre.runtime.fast_path import mask_for_generate
from todre.runtime.layer_patches import LayerPatches
from todre.runtime.prompt import Prompt, media_tokens
from todre.runtime.reporting import fill_text
from todre.runtime.schedule import Schedule
from todre.runtime.selection import signals_of
from todre.tensors.slots import AttachmentState
from todre.tower.capture import SaliencyCapture

ATTRIBUTE = "todre_attachment"
"""Attribute of a model that holds its attachment."""
_COPYING = ("__deepcopy__", "__reduce_ex__", "__getstate__")
"""Methods that `copy.deepcopy`, `pickle` and `copy.copy` look up on an instance."""


class Attachment:
    """One method on one model, from construction to `remove`.

    State of one forward is kept per thread, and state that outlives the forward is kept on the cache. A forward without
    pictures runs untouched if its pruned cache can answer for it, so that it can be compiled into one graph.

    Args:
        model: the transformers model, without wrappers.
        method: the method to attach.
        guard: looks at each picture before the method's answer is used; None for no guard.

    Raises:
        UnsupportedModelError: the model, or what the method needs of it, is not supported.
        ContractError: the installed transformers is not understood.
    """

    def __init__(self, model: PreTrainedModel, method: Method, guard: Guard | None = None) -> None:
        self.family = family_of(model)
        check_whole(model)
        self.model = model
        self.config = model.config
        self.method, self.guard = method, guard
        self.decoder = decoder_of(model)
        self.base = bare(base_module(model))
        check_release(model, self.base, self.decoder.module, self.decoder.layers)
        self.schedule = Schedule.of(method, self.decoder)
        self.report = PruningReport(
            method.to_dict(), self.decoder.n_layers, guard=None if guard is None else guard.to_dict()
        )
        self.local = threading.local()
        self.owner = AttachmentState()
        self.forwards, self.leaving = RunningForwards(), False
        self.embed = model.get_input_embeddings()
        self.tokens = media_tokens(self.family, self.config)
        self.model_door, self.base_door = Door.of(model), Door.of(self.base)
        self.layer_patches = LayerPatches(self.decoder, self.schedule.attention_layers)
        self.base_patch: Callable[[], ForwardPatch | None] = lambda: None
        self.placed = False
        self.changes: list[Removable] = []
        try:
            self._put()
        except BaseException:
            self.remove()
            raise

    def _put(self) -> None:
        """Put all patches on the model, and record each so that `remove` can undo it."""
        requests = signals_of(self.method, self.guard)
        self.capture = SaliencyCapture(
            self.model, self.family, requests, self.method.tower(), self.forwards, self._began_earlier
        )
        self.changes.append(self.capture)
        self.decoder_forward = DecoderForward(
            decoder=self.decoder,
            method=self.method,
            schedule=self.schedule,
            layer_patches=self.layer_patches,
            capture=self.capture,
            forwards=self.forwards,
            owner=self.owner,
            embed=self.embed,
            local=self.local,
            report=self.report,
            guard=self.guard,
        )
        patched = (
            (self.decoder.module, self.decoder_forward.run),
            (self.base, self._run_base),
            (self.model, self._run_model),
        )
        patches = [ForwardPatch(module, run).put() for module, run in patched]
        self.changes += patches
        self.base_patch = weakref.ref(patches[1])  # weak: the patch points back here
        self.placed = True
        # `generate` takes this method from the instance, or else the function of the same name, and builds masks by
        # it before it calls the model on a static cache (seen in 5.24).
        original = getattr(self.model, MASKS_FOR_GENERATE, masks_for_generate)
        self.changes.append(
            InstancePatch(self.model, MASKS_FOR_GENERATE, functools.partial(_masks_for_generate, original))
        )
        # A copy or a pickle would carry the patches, which point to this model.
        for module in {id(module): module for module, _ in patched}.values():
            self.changes += [InstancePatch(module, name, _refuse_to_copy) for name in _COPYING]
        self.changes.append(InstancePatch(self.model, ATTRIBUTE, self))

    def remove(self) -> None:
        """Take all patches off the model."""
        self.owner.open = False
        # Patches point back here. Popped one by one, they leave no cycle that would keep the model alive.
        while self.changes:
            self.changes.pop().remove()
        self.layer_patches.close()

    def _began_earlier(self) -> bool:
        """True if this thread is in a forward of the base that began before the attach.

        Until all patches are placed, any forward of the base did.
        """
        patch = self.base_patch()
        whole = not self.placed or (patch is not None and patch.on_top)
        return not self.forwards.active and whole and in_forward(self.base)

    def _run_model(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The output of the whole model."""
        call = self.model_door.read(args, kwargs)
        if not self.forwards.open or not call.brings_media:
            return forward(*args, **kwargs)
        return self._model_with_media(forward, args, kwargs, call)

    @no_compile_shallow
    def _model_with_media(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        """The output of the whole model in a forward that brings pictures or clips."""
        if self.capture.within:  # nested, as from a hook: it must not see what the outer forward left
            with set_aside(self.local, self.capture.local):
                return self._model_with_media(forward, args, kwargs, call)
        if not self.forwards.join():
            return forward(*args, **kwargs)
        try:
            self.local.drafts = call.drafts
            self.capture.announce(call.encodings)
            return forward(*args, **kwargs)
        finally:
            self.local.drafts = 0
            self.forwards.leave()

    def _run_base(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The output of the base; a compiled graph without a step runs it untouched."""
        call = self.base_door.read(args, kwargs)
        if torch.compiler.is_compiling() and not call.brings_media and self.decoder_forward.fast_path(call) is not None:
            return forward(*args, **kwargs)
        return self._base_with_prompt(forward, args, kwargs, call)

    @no_compile_shallow
    def _base_with_prompt(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        """The output of the base model, with the prompt read before it."""
        if self.capture.within:  # nested, as from a hook: it must not see what the outer forward left
            with set_aside(self.local, self.capture.local):
                return self._base_with_prompt(forward, args, kwargs, call)
        if not self.forwards.join():
            return forward(*args, **kwargs)
        try:
            self.capture.within = True
            self._before_base(call)
            output = forward(*args, **kwargs)
            self._after_base(call, output)
            return output
        finally:
            self.local.prompt, self.local.outer_mask, self.local.pruned = None, None, False
            self.local.bare = None
            self.capture.end()
            self.capture.within = False
            self.forwards.leave()

    @no_compile
    def _before_base(self, call: DecoderCall) -> None:
        """Read the prompt, and the facts about media encoded before this forward."""
        self.local.outer_mask = call.mask
        encoded, bare = bool(self.capture.current()), call.embeds is not None and call.ids is None and _begins(call)
        if bare and not call.brings_media:
            self._warn_unpruned(encoded)
        # Sizes and grids come with embeddings, too; whether pictures do is known after the forward.
        self.local.bare = encoded if bare and call.brings_media and not call.encodings else None
        self.capture.begin(call.encodings)
        if call.brings_media:
            stays = call.rest.get(self.family.stays) if self.family.stays else None
            self.local.prompt = Prompt(self.tokens, self.embed, call, stays)

    def _warn_unpruned(self, encoded: bool) -> None:
        """Warn that embeddings without token ids or pictures are not pruned.

        Args:
            encoded: whether pictures were encoded in this block.

        Raises:
            UnsupportedInputError: pictures were encoded in this block, so they were meant to be pruned.
        """
        remedy = "so nothing in them was pruned; shorten them by todre.prune_embeddings, which is told the columns."
        if encoded:
            raise UnsupportedInputError(
                "Pictures were encoded in this block, and then embeddings came that do not say which columns they "
                f"stand in, {remedy}"
            )
        warnings.warn(f"Embeddings came without pictures or ids, {remedy}", UnprunedWarning, stacklevel=2)

    @no_compile
    def _after_base(self, call: DecoderCall, output: Any) -> None:
        """Check that pictures were pruned; fill the report for a new text-only request.

        A decoding step changes nothing in the report.

        Raises:
            UnsupportedInputError: pictures were encoded, and the decoder ran without todre.
        """
        if self.capture.current():
            if self.forwards.open and not getattr(self.local, "pruned", False):
                raise UnsupportedInputError(
                    "Pictures were encoded, and then the decoder ran without todre, so nothing was pruned: its forward "
                    "was taken off inside the block, or it was replaced; leave the block before changing the model."
                )
            return
        if (encoded := getattr(self.local, "bare", None)) is not None:
            self._warn_unpruned(encoded)
        if _begins(call):
            fill_text(self.report, call, cache_of(output))


def _begins(call: DecoderCall) -> bool:
    """True if a forward without pictures does not continue a pruned prompt."""
    return not hasattr(call.cache, "layers") or kv.first_table(call.cache) is None


def _refuse_to_copy(*_: Any) -> Any:
    """Refuse to copy, pickle or save a model that is being pruned.

    Raises:
        UnsupportedInputError: always.
    """
    raise UnsupportedInputError(
        "A model that is being pruned cannot be copied, pickled or saved whole: a copy would be tied to it; "
        "leave the block, or call todre.detach(model), first."
    )


def _masks_for_generate(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Static-cache masks for `generate`, built from the columns that are kept."""
    door = Door(original)
    call = door.read(args, kwargs)
    return original(**door.write(call.with_fields(mask=mask_for_generate(call.cache, call.mask))))
