"""`prune`, `attach`, `detach`: what stands in for one given model's forwards, all of it removed at the end."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from todre import cache as kv
from todre.compat import DynamicCache, PreTrainedModel, create_masks_for_generate
from todre.continuing import carried_on, mask_for_generate
from todre.decoder import CHUNKED, SLIDING, decoder_of
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.families import family_of
from todre.hf.calls import DecoderCall, Door
from todre.hf.contract import check_filled, check_release
from todre.inside import Inside
from todre.methods.base import Method
from todre.plan import Plan
from todre.prompt import Prompt, media_tokens
from todre.report import PruningReport
from todre.reporting import fill
from todre.saliency import SaliencyCapture
from todre.samples import media_of, standing
from todre.slots import Lease
from todre.step import Pictures, Step
from todre.wrapped import StandIn, bare, check_whole, untraced, untraced_here, unwrapped

_ATTRIBUTE = "todre_attachment"
_MASKS = "create_masks_for_generate"


@contextmanager
def prune(model: PreTrainedModel, method: Method) -> Iterator[PruningReport]:
    """Prune visual tokens in every forward and `generate` of `model` inside the block.

    Args:
        model: a vision-language model of transformers, also inside what PEFT, torch.compile, DistributedDataParallel or
            FSDP wrap around it; it does not matter whether the wrapper or the model is called.
        method: what to keep, for example `todre.ToDRE(retain=0.1)`.

    Yields:
        A report that describes the most recent prefill.

    Raises:
        UnsupportedModelError: the model's family is not supported.
        UnsupportedInputError: the model is already being pruned.
    """
    report = attach(model, method)
    try:
        yield report
    finally:
        detach(model)


def attach(model: PreTrainedModel, method: Method) -> PruningReport:
    """Prune `model` until `detach`, as for a served model; see `prune`."""
    if not isinstance(method, Method):
        raise InvalidValueError(
            f"method must be a method such as todre.ToDRE(retain=0.1), not {method!r}; "
            "by name: todre.methods.registry.create('todre', retain=0.1)."
        )
    model = unwrapped(model)
    current = getattr(model, _ATTRIBUTE, None)
    if current is not None:
        raise UnsupportedInputError(
            f"This model is already being pruned by {current.method.describe()}; "
            "leave that block, or call todre.detach(model), before pruning it again."
        )
    attachment = Attachment(model, method)
    setattr(model, _ATTRIBUTE, attachment)
    return attachment.report


def detach(model: PreTrainedModel) -> None:
    """Undo `attach`: the model is as it was.

    Raises:
        InvalidValueError: the model is not being pruned.
    """
    model = unwrapped(model)
    attachment = getattr(model, _ATTRIBUTE, None)
    if attachment is None:
        raise InvalidValueError("This model is not being pruned; call todre.attach(model, method) first.")
    delattr(model, _ATTRIBUTE)
    attachment.remove()


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
        check_release(model, bare(model.base_model), self.decoder.module, self.decoder.layers)
        self.sees_all, self.text_config = self.decoder.sees_all, self.decoder.config
        self.plan = Plan.of(method, self.decoder)
        self.report = PruningReport(method.to_dict(), self.decoder.n_layers)
        self.local = threading.local()
        self.lease = Lease()
        self.embed = model.get_input_embeddings()
        self.tokens = media_tokens(self.family, self.config)
        self.base = bare(model.base_model)
        self.model_door, self.base_door, self.decoder_door = map(Door.of, (model, self.base, self.decoder.module))
        self.inside = Inside(self.decoder, self.plan.watched)
        self.capture = SaliencyCapture(model, self.family, method.signals(), method.tower())
        outside = ((self.decoder.module, self._run_decoder), (self.base, self._run_base), (model, self._run_model))
        self.stand_ins = [StandIn(module, run).put() for module, run in outside]
        original = getattr(model, _MASKS, create_masks_for_generate)
        vars(model)[_MASKS] = functools.partial(_masks_for_generate, original)

    def remove(self) -> None:
        """Leave the model as it was."""
        self.lease.open = False
        vars(self.model).pop(_MASKS, None)
        for each in reversed(self.stand_ins):
            each.remove()
        self.capture.remove()

    # -- the enclosing model ------------------------------------------------------------------------------------

    def _run_model(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.model_door.read(args, kwargs)
        if not call.brings_media:
            return forward(*args, **kwargs)
        return self._model_with_media(forward, args, kwargs, call)

    @untraced_here
    def _model_with_media(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        self.local.drafts = call.drafts
        self.capture.announce(call.encoded)
        try:
            return forward(*args, **kwargs)
        finally:
            self.local.drafts = 0

    def _run_base(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.base_door.read(args, kwargs)
        if torch.compiler.is_compiling() and not call.brings_media and self._carried_on(call) is not None:
            return forward(*args, **kwargs)
        return self._base_around(forward, args, kwargs, call)

    @untraced_here
    def _base_around(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: DecoderCall
    ) -> Any:
        self._before_base(call)
        try:
            return forward(*args, **kwargs)
        finally:
            self.local.prompt, self.local.outer_mask = None, None
            self.capture.end()

    @untraced
    def _before_base(self, call: DecoderCall) -> None:
        self.local.outer_mask = call.attention_mask
        self.capture.begin(call.encoded)
        if call.brings_media:
            stays = call.rest.get(self.family.stays) if self.family.stays else None
            self.local.prompt = Prompt(self.tokens, self.embed, call, stays)

    # -- the decoder --------------------------------------------------------------------------------------------

    def _run_decoder(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = self.decoder_door.read(args, kwargs)
        if torch.compiler.is_compiling() or not self.capture.current():
            carried = self._carried_on(call)
            if carried is call:
                return forward(*args, **kwargs)
            if carried is not None:
                return forward(**self.decoder_door.write(carried))
        return self._decoder_step(forward, call)

    def _carried_on(self, call: DecoderCall) -> DecoderCall | None:
        return carried_on(self.sees_all, self.text_config._attn_implementation, call)

    @untraced_here
    def _decoder_step(self, forward: Callable[..., Any], call: DecoderCall) -> Any:
        """A forward of the decoder, with pictures or on a cache that needs help."""
        try:
            call, step = self._before_decoder(call)
            with self.inside.running(step):
                output = forward(**self.decoder_door.write(call))
        finally:
            self._end(call)
        return output if step is None else self._after_decoder(step, output)

    @untraced
    def _before_decoder(self, call: DecoderCall) -> tuple[DecoderCall, Step | None]:
        """What the decoder is called with, and the step if there is one."""
        facts = self.capture.current()
        if hasattr(call.cache, "layers"):
            kv.sign(call.cache, self.lease)
        carried = None if facts else self._carried_on(call)
        if carried is not None:
            return carried, None
        if call.embeds is None:
            call.ids, call.embeds = None, self.embed(call.ids)
        if facts:
            return call, self._prefill(facts, call)
        tables = kv.distinct_tables(call.cache)
        return call, Step.continuation(self.decoder, tables, getattr(self.local, "outer_mask", None), call)

    def _prefill(self, facts: dict[str, Any], call: DecoderCall) -> Step:
        self._prepare_cache(call)
        prompt = self.local.prompt
        if prompt.stays is not None and "video" in facts:
            facts = facts | {"video": standing(facts["video"], prompt.stays)}
        pictures = Pictures(media_of(facts, prompt.marked), getattr(self.local, "drafts", 0), prompt)
        return Step.prefill(self.decoder, self.method, self.plan, pictures, call)

    def _prepare_cache(self, call: DecoderCall) -> None:
        use_cache = self.decoder.config.use_cache if call.use_cache is None else call.use_cache
        if call.cache is None and use_cache and not self.decoder.recomputes:
            call.cache = DynamicCache(config=self.decoder.config)
        cache = call.cache
        if cache is None:
            return
        kv.check_cache(cache, tuple(kind in (SLIDING, CHUNKED) for kind in self.decoder.layer_types))
        if self.plan.reducers and any(kv.is_static(layer) for layer in cache.layers):
            raise UnsupportedInputError(
                "A static cache cannot get shorter inside the decoder, so stage 2 would save nothing there; "
                "use stages=(1,), or a dynamic cache."
            )

    @untraced
    def _end(self, call: DecoderCall) -> None:
        """The decoder has run, or failed: nothing is announced to the tables any more."""
        if hasattr(call.cache, "layers"):
            for table in kv.distinct_tables(call.cache):
                table.end()
            kv.sign(call.cache, self.lease)

    @untraced
    def _after_decoder(self, step: Step, output: Any) -> Any:
        if step.method is not None and step.cache is not None:
            check_filled(step.cache, output)
        output = step.finish(output)
        if step.method is not None:
            fill(self.report, step, self.capture.ran())
        return output


def _masks_for_generate(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let `generate` lay out its masks for static caches from what is left of a prompt."""
    door = Door(original)
    call = door.read(args, kwargs)
    return original(**door.write(call.changed(attention_mask=mask_for_generate(call.cache, call.attention_mask))))
