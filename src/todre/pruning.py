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
from todre.continuing import brings_media, carried_on, mask_for_generate
from todre.decoder import CHUNKED, SLIDING, decoder_of
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.families import family_of
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
        self.sees_all, self.text_config = self.decoder.sees_all, self.decoder.config
        self.plan = Plan.of(method, self.decoder)
        self.report = PruningReport(method.to_dict(), self.decoder.n_layers)
        self.local = threading.local()
        self.lease = Lease()
        self.embed = model.get_input_embeddings()
        self.tokens = media_tokens(self.family, self.config)
        self.base = bare(model.base_model)
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
        if not brings_media(args, kwargs):
            return forward(*args, **kwargs)
        return self._model_with_media(forward, args, kwargs)

    @untraced_here
    def _model_with_media(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kept = kwargs.get("logits_to_keep", 0)
        self.local.drafts = kept - 1 if isinstance(kept, int) and kept > 1 else 0
        self.capture.announce(kwargs.get("mm_encoder_outputs") or {})
        try:
            return forward(*args, **kwargs)
        finally:
            self.local.drafts = 0

    def _run_base(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if (
            torch.compiler.is_compiling()
            and not brings_media(args, kwargs)
            and self._carried_on(args, kwargs) is not None
        ):
            return forward(*args, **kwargs)
        return self._base_around(forward, args, kwargs)

    @untraced_here
    def _base_around(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._before_base(args, kwargs)
        try:
            return forward(*args, **kwargs)
        finally:
            self.local.prompt, self.local.outer_mask = None, None
            self.capture.end()

    @untraced
    def _before_base(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.local.outer_mask = kwargs.get("attention_mask")
        self.capture.begin(kwargs.get("mm_encoder_outputs") or {})
        if brings_media(args, kwargs):
            self.local.prompt = Prompt(
                self.tokens,
                self.embed,
                args[0] if args else kwargs.get("input_ids"),
                kwargs.get("inputs_embeds"),
                kwargs.get("attention_mask"),
                kwargs.get("past_key_values"),
                kwargs.get(self.family.stays) if self.family.stays else None,
            )

    # -- the decoder --------------------------------------------------------------------------------------------

    def _run_decoder(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not self.capture.current():
            carried = self._carried_on(args, kwargs)
            if carried is not None:
                return forward(*args, **carried)
        return self._decoder_step(forward, args, kwargs)

    def _carried_on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        return carried_on(self.sees_all, self.text_config._attn_implementation, args, kwargs)

    @untraced_here
    def _decoder_step(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A forward of the decoder, with pictures or on a cache that needs help."""
        kwargs = dict(kwargs)
        try:
            args, step = self._before_decoder(args, kwargs)
            with self.inside.running(step):
                output = forward(*args, **kwargs)
        finally:
            self._end(kwargs)
        return output if step is None else self._after_decoder(step, output)

    @untraced
    def _before_decoder(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Step | None]:
        """What the decoder is called with, `kwargs` in place, and the step if there is one."""
        facts = self.capture.current()
        cache = kwargs.get("past_key_values")
        if hasattr(cache, "layers"):
            kv.sign(cache, self.lease)
        carried = None if facts else self._carried_on(args, kwargs)
        if carried is not None:
            kwargs |= carried
            return args, None
        if kwargs.get("inputs_embeds") is None:
            ids = args[0] if args else kwargs.pop("input_ids")
            args, kwargs["inputs_embeds"] = (), self.embed(ids)
        if facts:
            return args, self._prefill(facts, kwargs)
        tables = kv.distinct_tables(cache)
        return args, Step.continuation(self.decoder, tables, getattr(self.local, "outer_mask", None), kwargs)

    def _prefill(self, facts: dict[str, Any], kwargs: dict[str, Any]) -> Step:
        self._prepare_cache(kwargs)
        prompt = self.local.prompt
        if prompt.stays is not None and "video" in facts:
            facts = facts | {"video": standing(facts["video"], prompt.stays)}
        pictures = Pictures(media_of(facts, prompt.marked), getattr(self.local, "drafts", 0), prompt)
        return Step.prefill(self.decoder, self.method, self.plan, pictures, kwargs)

    def _prepare_cache(self, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        use_cache = kwargs.get("use_cache")
        use_cache = self.decoder.config.use_cache if use_cache is None else use_cache
        if cache is None and use_cache and not self.decoder.recomputes:
            cache = kwargs["past_key_values"] = DynamicCache(config=self.decoder.config)
        if cache is None:
            return
        kv.check_cache(cache, tuple(kind in (SLIDING, CHUNKED) for kind in self.decoder.layer_types))
        if self.plan.reducers and any(kv.is_static(layer) for layer in cache.layers):
            raise UnsupportedInputError(
                "A static cache cannot get shorter inside the decoder, so stage 2 would save nothing there; "
                "use stages=(1,), or a dynamic cache."
            )

    @untraced
    def _end(self, kwargs: dict[str, Any]) -> None:
        """The decoder has run, or failed: nothing is announced to the tables any more."""
        cache = kwargs.get("past_key_values")
        if hasattr(cache, "layers"):
            for table in kv.distinct_tables(cache):
                table.end()
            kv.sign(cache, self.lease)

    @untraced
    def _after_decoder(self, step: Step, output: Any) -> Any:
        output = step.finish(output)
        if step.method is not None:
            fill(self.report, step, self.capture.ran())
        return output


def _masks_for_generate(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let `generate` lay out its masks for static caches from what is left of a prompt."""
    if "attention_mask" in kwargs:
        mask = mask_for_generate(kwargs.get("past_key_values"), kwargs["attention_mask"])
        kwargs = kwargs | {"attention_mask": mask}
    return original(*args, **kwargs)
