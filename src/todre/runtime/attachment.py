"""One method on one model: what stands in for the given instance's forwards, all of it removed at the end."""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from todre.errors import UnprunedWarning, UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, Door, cache_of
from todre.hf.contract import check_filled, check_release
from todre.hf.decoder import decoder_of
from todre.hf.families import family_of
from todre.hf.keywords import MASKS_FOR_GENERATE
from todre.hf.layer_calls import runs_again_bare
from todre.hf.model_parts import attention_backend, base_module
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
from todre.report import PruningReport
from todre.runtime.continuation import continuation
from todre.runtime.fast_path import fast_path_call, mask_for_generate
from todre.runtime.finish import finish
from todre.runtime.layer_patches import LayerPatches
from todre.runtime.packing import packed_samples, prepare_cache
from todre.runtime.prefill import PromptMedia, prefill
from todre.runtime.prompt import Prompt, media_tokens
from todre.runtime.reporting import fill, fill_text
from todre.runtime.samples import media_of, standing
from todre.runtime.schedule import Schedule
from todre.runtime.step import Step
from todre.tensors.slots import AttachmentState
from todre.tower.capture import SaliencyCapture

ATTRIBUTE = "todre_attachment"
"""Where a model keeps what is attached to it."""
_COPYING = ("__deepcopy__", "__reduce_ex__", "__getstate__")
"""What `copy.deepcopy`, `pickle` (torch.save, multiprocessing) and `copy.copy` look up on an instance."""


class Attachment:
    """One method on one model. What one forward needs is per thread; what lasts is on the cache.

    A forward without pictures that its cache can answer for runs as if nobody was there, and so it can be compiled into
    one graph.
    """

    def __init__(self, model: PreTrainedModel, method: Method) -> None:
        self.family = family_of(model)
        check_whole(model)
        self.model = model
        self.config = model.config
        self.method = method
        self.decoder = decoder_of(model)
        self.base = bare(base_module(model))
        check_release(model, self.base, self.decoder.module, self.decoder.layers)
        self.sees_all, self.text_config = self.decoder.sees_all, self.decoder.config
        self.schedule = Schedule.of(method, self.decoder)
        self.report = PruningReport(method.to_dict(), self.decoder.n_layers)
        self.local = threading.local()
        self.owner = AttachmentState()
        self.forwards, self.leaving = RunningForwards(), False
        self.embed = model.get_input_embeddings()
        self.tokens = media_tokens(self.family, self.config)
        self.model_door, self.base_door, self.decoder_door = map(Door.of, (model, self.base, self.decoder.module))
        self.layer_patches = LayerPatches(self.decoder, self.schedule.watched)
        self.around_base: Callable[[], ForwardPatch | None] = lambda: None
        self.put: list[Removable] = []
        try:
            self._put()
        except BaseException:
            self.remove()
            raise

    def _put(self) -> None:
        """Change the model; each change is taken down, to be undone."""
        self.capture = SaliencyCapture(
            self.model, self.family, self.method.signals(), self.method.tower(), self.forwards, self._began_earlier
        )
        self.put.append(self.capture)
        outside = (
            (self.decoder.module, self._run_decoder),
            (self.base, self._run_base),
            (self.model, self._run_model),
        )
        around = [ForwardPatch(module, run).put() for module, run in outside]
        self.put += around
        self.around_base = weakref.ref(around[1])
        original = getattr(self.model, MASKS_FOR_GENERATE, masks_for_generate)
        self.put.append(InstancePatch(self.model, MASKS_FOR_GENERATE, functools.partial(_masks_for_generate, original)))
        for module in {id(module): module for module, _ in outside}.values():
            self.put += [InstancePatch(module, name, _refuse_to_copy) for name in _COPYING]
        self.put.append(InstancePatch(self.model, ATTRIBUTE, self))

    def remove(self) -> None:
        """Leave the model as it was."""
        self.owner.open = False
        while self.put:  # what was put points back here, and would keep the model until garbage is collected
            self.put.pop().remove()
        self.layer_patches.close()

    def _began_earlier(self) -> bool:
        """Whether this thread is in a forward of the base that began before this was put around it."""
        around = self.around_base()
        return not self.forwards.joined and around is not None and around.on_top and in_forward(self.base)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Inside the block this thread's forward is set aside, so that another of the same model is its own."""
        held = [vars(self.local), vars(self.capture.local)]
        known = [dict(one) for one in held]
        for one in held:
            one.clear()
        try:
            yield
        finally:
            for one, before in zip(held, known, strict=True):
                one.clear()
                one.update(before)

    # -- the enclosing model ------------------------------------------------------------------------------------

    def _run_model(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.model_door.read(args, kwargs)
        if not self.forwards.open or not call.brings_media:
            return forward(*args, **kwargs)
        return self._model_with_media(forward, args, kwargs, call)

    @no_compile_shallow
    def _model_with_media(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        if self.capture.within:
            with self._apart():
                return self._model_with_media(forward, args, kwargs, call)
        if not self.forwards.join():
            return forward(*args, **kwargs)
        try:
            self.local.drafts = call.drafts
            self.capture.announce(call.encoded)
            return forward(*args, **kwargs)
        finally:
            self.local.drafts = 0
            self.forwards.leave()

    def _run_base(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.base_door.read(args, kwargs)
        if torch.compiler.is_compiling() and not call.brings_media and self._fast_path_call(call) is not None:
            return forward(*args, **kwargs)
        return self._base_around(forward, args, kwargs, call)

    @no_compile_shallow
    def _base_around(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        if self.capture.within:
            with self._apart():
                return self._base_around(forward, args, kwargs, call)
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
            self.capture.end()
            self.capture.within = False
            self.forwards.leave()

    @no_compile
    def _before_base(self, call: DecoderCall) -> None:
        self.local.outer_mask = call.mask
        if not call.brings_media and call.embeds is not None and call.ids is None and _begins(call):
            self._no_pictures_named()
        self.capture.begin(call.encoded)
        if call.brings_media:
            stays = call.rest.get(self.family.stays) if self.family.stays else None
            self.local.prompt = Prompt(self.tokens, self.embed, call, stays)

    def _no_pictures_named(self) -> None:
        """Embeddings came without ids or pictures: say what is not done with them."""
        remedy = "so nothing in them was pruned; shorten them by todre.prune_embeddings, which is told the columns."
        if self.capture.current():
            raise UnsupportedInputError(
                "Pictures were encoded in this block, and then embeddings came that do not say which columns they "
                f"stand in, {remedy}"
            )
        warnings.warn(f"Embeddings came without pictures or ids, {remedy}", UnprunedWarning, stacklevel=2)

    @no_compile
    def _after_base(self, call: DecoderCall, output: Any) -> None:
        """A request of text alone is what the report is about now; a step of decoding changes nothing in it."""
        if self.capture.current():
            if self.forwards.open and not getattr(self.local, "pruned", False):
                raise UnsupportedInputError(
                    "Pictures were encoded, and then the decoder ran without todre, so nothing was pruned: its forward "
                    "was taken off inside the block, or it was replaced; leave the block before changing the model."
                )
        elif _begins(call):
            fill_text(self.report, call, cache_of(output))

    # -- the decoder --------------------------------------------------------------------------------------------

    def _run_decoder(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.decoder_door.read(args, kwargs)
        if torch.compiler.is_compiling() or not (self.capture.current() or self.layer_patches.step is not None):
            fast = self._fast_path_call(call)
            if fast is call:
                return forward(*args, **kwargs)
            if fast is not None:
                return forward(**self.decoder_door.write(fast))
        return self._decoder_step(forward, call)

    def _fast_path_call(self, call: DecoderCall) -> DecoderCall | None:
        return fast_path_call(self.sees_all, attention_backend(self.text_config), call)

    @no_compile_shallow
    def _decoder_step(self, forward: Callable[..., Any], call: DecoderCall) -> Any:
        """A forward of the decoder, with pictures or on a cache that needs help."""
        if not self.forwards.join():
            return forward(**self.decoder_door.write(call))
        try:
            return self._stepped(forward, call)
        finally:
            self.forwards.leave()

    @no_compile_shallow
    def _stepped(self, forward: Callable[..., Any], call: DecoderCall) -> Any:
        try:
            call, step = self._before_decoder(call)
            with self.layer_patches.running(step), self._apart():
                output = forward(**self.decoder_door.write(call))
        finally:
            self._end(call)
        return output if step is None else self._after_decoder(step, output)

    @no_compile
    def _before_decoder(self, call: DecoderCall) -> tuple[DecoderCall, Step | None]:
        """What the decoder is called with, and the step if there is one."""
        facts = self.capture.current()
        if hasattr(call.cache, "layers"):
            kv.set_owner(call.cache, self.owner)
        fast = None if facts else self._fast_path_call(call)
        if fast is not None:
            return fast, None
        if call.embeds is None:
            call.ids, call.embeds = None, self.embed(call.ids)
        if facts:
            if getattr(self.local, "prompt", None) is None:
                raise UnsupportedInputError(
                    "The decoder was called by itself after pictures were encoded, so which columns are visual is not "
                    "known; call the whole model, or shorten merged embeddings by todre.prune_embeddings first."
                )
            return call, self._prefill(facts, call)
        tables = kv.distinct_tables(call.cache)
        return call, continuation(self.decoder, tables, getattr(self.local, "outer_mask", None), call)

    def _prefill(self, facts: dict[str, Any], call: DecoderCall) -> Step:
        prompt = self.local.prompt
        if self.schedule.reducers and self.decoder.recomputes and runs_again_bare(self.decoder.layers[0]):
            raise UnsupportedInputError(
                "With gradient checkpointing this release of transformers runs decoder layers again without what todre "
                "gives them, so tokens cannot be dropped inside it; use stages=(1,), or transformers 5.23 or later."
            )
        prompt.check_columns(call)
        segments = packed_samples(call, prompt, self.decoder)
        if segments is not None:
            segments.split(call, self.decoder.window)
            prompt = prompt.split(segments, call.mask)
        prepare_cache(call, self.decoder, bool(self.schedule.reducers))
        if prompt.stays is not None and "video" in facts:
            facts = facts | {"video": standing(facts["video"], prompt.stays)}
        media = PromptMedia(media_of(facts, prompt.marked), getattr(self.local, "drafts", 0), prompt)
        step = prefill(self.decoder, self.method, self.schedule, media, call)
        step.segments, self.local.pruned = segments, True
        return step

    @no_compile
    def _end(self, call: DecoderCall) -> None:
        """The decoder has run, or failed: nothing is announced to the tables any more."""
        if hasattr(call.cache, "layers"):
            for table in kv.distinct_tables(call.cache):
                table.end()
            kv.set_owner(call.cache, self.owner)

    @no_compile
    def _after_decoder(self, step: Step, output: Any) -> Any:
        inputs = step.inputs
        if inputs.method is not None and inputs.cache is not None:
            check_filled(inputs.cache, output)
        output = finish(step, output)
        if inputs.method is not None:
            fill(self.report, step, self.capture.ran())
        return output


def _begins(call: DecoderCall) -> bool:
    """Whether a forward without pictures goes on from no pruned prompt."""
    return not hasattr(call.cache, "layers") or kv.first_table(call.cache) is None


def _refuse_to_copy(*_: Any) -> Any:
    raise UnsupportedInputError(
        "A model that is being pruned cannot be copied, pickled or saved whole: a copy would be tied to it; "
        "leave the block, or call todre.detach(model), first."
    )


def _masks_for_generate(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let `generate` lay out its masks for static caches from what is left of a prompt."""
    door = Door(original)
    call = door.read(args, kwargs)
    return original(**door.write(call.changed(mask=mask_for_generate(call.cache, call.mask))))
