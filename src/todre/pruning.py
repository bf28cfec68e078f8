"""`prune`, `attach`, `detach`: hooks on one given model, all of them removed at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from todre import cache as kv
from todre.attention import Seen, attention_modules, watch
from todre.compat import DynamicCache, PreTrainedModel
from todre.decoder import CHUNKED, SLIDING, decoder_of
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.families import family_of
from todre.methods.base import Method
from todre.plan import Plan
from todre.positions import matched
from todre.prompt import Prompt, media_tokens
from todre.report import PruningReport
from todre.reporting import fill
from todre.saliency import SaliencyCapture
from todre.samples import media_of, standing
from todre.step import Pictures, Step
from todre.wrapped import Mark, Removable, bare, check_whole, untraced, unwrapped

_ATTRIBUTE = "todre_attachment"


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
    """The hooks of one method on one model. What one forward needs is per thread; what lasts is on the cache."""

    def __init__(self, model: PreTrainedModel, method: Method) -> None:
        self.family = family_of(model)
        check_whole(model)
        self.config = model.config
        self.method = method
        self.decoder = decoder_of(model)
        self.plan = Plan.of(method, self.decoder)
        self.report = PruningReport(method.to_dict(), self.decoder.n_layers)
        self.local = threading.local()
        self.embed = model.get_input_embeddings()
        self.tokens = media_tokens(self.family, self.config)
        self.base = bare(model.base_model)
        layers = list(self.decoder.layers)
        watched = {layer: self._attention_of(layers[layer - 1]) for layer in self.plan.watched}
        self.capture = SaliencyCapture(model, self.family, method.signals(), method.tower())
        module = self.decoder.module
        self.handles: list[Removable] = [
            model.register_forward_pre_hook(self._before_model, with_kwargs=True),
            self.base.register_forward_pre_hook(self._before_base, with_kwargs=True),
            self.base.register_forward_hook(self._after_base, always_call=True),
            module.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
            module.register_forward_hook(self._after_decoder, always_call=True),
        ]
        self.handles += [
            rotary.register_forward_pre_hook(self._before_rotary, with_kwargs=True) for rotary in self.decoder.rotary
        ]
        for index, layer in enumerate(layers):
            self.handles.append(layer.register_forward_pre_hook(_LayerHook(self, index), with_kwargs=True))
        for count, attention in watched.items():
            self.handles += watch(attention, _Listener(self, count), when=_Wanted(self, count))
        self.handles += [Mark(hooked) for hooked in (model, self.base, module, *self.decoder.rotary, *layers)]

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        self.capture.remove()

    @property
    def step(self) -> Step | None:
        """This thread's decoder forward, while it runs."""
        return getattr(self.local, "step", None)

    @staticmethod
    def _attention_of(layer: nn.Module) -> nn.Module:
        found = attention_modules(layer)
        if len(found) != 1:
            raise UnsupportedModelError(
                f"A layer of type {type(layer).__name__} has {len(found)} attention modules, so stage 2 cannot read "
                "its attention; use stages=(1,)."
            )
        return found[0]

    # -- the enclosing model ------------------------------------------------------------------------------------

    @untraced
    def _before_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        kept = kwargs.get("logits_to_keep", 0)
        self.local.drafts = kept - 1 if isinstance(kept, int) and kept > 1 else 0
        self.capture.announce(kwargs.get("mm_encoder_outputs") or {})

    @untraced
    def _before_base(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.local.outer_mask = kwargs.get("attention_mask")
        self.capture.begin(kwargs.get("mm_encoder_outputs") or {})
        if any(
            name.startswith("pixel_values") or name == "mm_encoder_outputs"
            for name, x in kwargs.items()
            if x is not None
        ):
            self.local.prompt = Prompt(
                self.tokens,
                self.embed,
                args[0] if args else kwargs.get("input_ids"),
                kwargs.get("inputs_embeds"),
                kwargs.get("attention_mask"),
                kwargs.get("past_key_values"),
                kwargs.get(self.family.stays) if self.family.stays else None,
            )

    @untraced
    def _after_base(self, module: nn.Module, args: Any, output: Any) -> None:
        self.local.prompt, self.local.outer_mask = None, None
        self.capture.end()

    # -- the decoder --------------------------------------------------------------------------------------------

    @untraced
    def _before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        self.local.step = None
        self.local.begun = []
        kwargs = dict(kwargs)
        facts = self.capture.current()
        tables = kv.distinct_tables(kwargs.get("past_key_values")) if self._is_cache(kwargs) else []
        if not facts and not tables:
            return args, kwargs
        if kwargs.get("inputs_embeds") is None:
            ids = args[0] if args else kwargs.pop("input_ids")
            args, kwargs["inputs_embeds"] = (), self.embed(ids)
        outer = getattr(self.local, "outer_mask", None)
        if not facts:
            self.local.step = Step.continuation(self.decoder, tables, outer, kwargs)
        else:
            self._prepare_cache(kwargs)
            prompt = self.local.prompt
            if prompt.stays is not None and "video" in facts:
                facts = facts | {"video": standing(facts["video"], prompt.stays)}
            pictures = Pictures(media_of(facts, prompt.marked), getattr(self.local, "drafts", 0), prompt)
            self.local.step = Step.prefill(self.decoder, self.method, self.plan, pictures, kwargs)
        self.local.begun = kv.distinct_tables(kwargs.get("past_key_values"))
        return args, kwargs

    def _is_cache(self, kwargs: dict[str, Any]) -> bool:
        return hasattr(kwargs.get("past_key_values"), "layers")

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
    def _after_decoder(self, module: nn.Module, args: Any, output: Any) -> Any:
        step, self.local.step = self.step, None
        for table in getattr(self.local, "begun", []) or []:
            table.end()
        self.local.begun, self.local.drafts = [], 0
        if step is None or output is None:
            return output
        for table in kv.distinct_tables(step.cache):
            table.end()
        output = step.finish(output)
        if step.method is not None:
            fill(self.report, step, self.capture.ran())
        return output

    @untraced
    def _before_rotary(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        step = self.step
        if step is None or step.rotary_positions is None:
            return None
        given = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
        real = matched(step.rotary_positions, given)
        if "position_ids" in kwargs:
            return args, kwargs | {"position_ids": real}
        return (args[0], real, *args[2:]), kwargs


class _LayerHook:
    """Pre-hook of one decoder layer."""

    def __init__(self, attachment: Attachment, index: int) -> None:
        self.attachment, self.index = attachment, index

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        step = self.attachment.step
        return step.before_layer(self.index, args, kwargs) if step is not None else None


class _Wanted:
    """Whether the attention of the `layer`-th layer is to be watched now."""

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self.attachment, self.layer = attachment, layer

    def __call__(self) -> bool:
        step = self.attachment.step
        return step is not None and step.wants(self.layer)


class _Listener:
    """Hands queries and keys of the `layer`-th layer to the step."""

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self.attachment, self.layer = attachment, layer

    def __call__(self, seen: Seen) -> None:
        step = self.attachment.step
        if step is not None:
            step.note(self.layer, seen)
