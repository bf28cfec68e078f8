"""`prune`, `attach`, `detach`: hooks on one given model, all of them removed at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from todre import cache as kv
from todre.attention import attention_modules, watch
from todre.compat import DynamicCache, PreTrainedModel
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.families import family_of
from todre.methods.base import Method
from todre.report import PruningReport
from todre.reporting import fill
from todre.saliency import SaliencyCapture, TokenFacts, facts_of
from todre.step import Pictures, Step

_ATTRIBUTE = "todre_attachment"


@contextmanager
def prune(model: PreTrainedModel, method: Method) -> Iterator[PruningReport]:
    """Prune visual tokens in every forward and `generate` of `model` inside the block.

    Args:
        model: a vision-language model of transformers.
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
    attachment = getattr(model, _ATTRIBUTE, None)
    if attachment is None:
        raise InvalidValueError("This model is not being pruned; call todre.attach(model, method) first.")
    delattr(model, _ATTRIBUTE)
    attachment.remove()


class Attachment:
    """The hooks of one method on one model. What one forward needs is per thread; what lasts is on the cache."""

    def __init__(self, model: PreTrainedModel, method: Method) -> None:
        family = family_of(model)
        self.config = model.config
        self.method = method
        self.decoder: nn.Module = model.get_decoder()
        self.text_config = model.config.get_text_config(decoder=True)
        self.n_layers = int(self.text_config.num_hidden_layers)
        self.candidates = method.reduce_after(self.n_layers)
        self.report = PruningReport(method.to_dict(), self.n_layers)
        self.local = threading.local()
        self.embed = model.get_input_embeddings()
        layers = list(self.decoder.layers)
        watched = {layer: self._attention_of(layers[layer - 1]) for layer in self.candidates}
        self.capture = SaliencyCapture(model, family, method.saliency())
        self.handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._before_model, with_kwargs=True),
            model.base_model.register_forward_pre_hook(self._before_base, with_kwargs=True),
            model.base_model.register_forward_hook(self._after_base, always_call=True),
            self.decoder.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
            self.decoder.register_forward_hook(self._after_decoder, always_call=True),
            self.decoder.rotary_emb.register_forward_pre_hook(self._before_rotary, with_kwargs=True),
        ]
        for index, layer in enumerate(layers):
            self.handles.append(layer.register_forward_pre_hook(_LayerHook(self, index), with_kwargs=True))
        for layer, module in watched.items():
            self.handles += watch(module, _Listener(self, layer), when=_Wanted(self, layer))

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

    def _before_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        kept = kwargs.get("logits_to_keep", 0)
        self.local.drafts = kept - 1 if isinstance(kept, int) and kept > 1 else 0

    def _before_base(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.local.visual = None
        encoded = kwargs.get("mm_encoder_outputs") or {}
        has_pictures = encoded.get("image") is not None or kwargs.get("pixel_values") is not None
        if not has_pictures:
            return
        input_ids = args[0] if args else kwargs.get("input_ids")
        if input_ids is not None:
            visual = input_ids == self.config.image_token_id
        else:
            token = torch.tensor(self.config.image_token_id, device=kwargs["inputs_embeds"].device)
            visual = (kwargs["inputs_embeds"] == self.embed(token)).all(dim=-1)
        self.local.visual = visual
        self.capture.begin(encoded.get("image"))

    def _after_base(self, module: nn.Module, args: Any, output: Any) -> None:
        self.local.visual = None
        self.capture.end()

    # -- the decoder --------------------------------------------------------------------------------------------

    def _before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        self.local.step = None
        self.local.begun = []
        kwargs = dict(kwargs)
        visual: Tensor | None = getattr(self.local, "visual", None)
        tables = kv.distinct_tables(kwargs.get("past_key_values")) if self._is_cache(kwargs) else []
        if visual is None and not tables:
            return args, kwargs
        if kwargs.get("inputs_embeds") is None:
            ids = args[0] if args else kwargs.pop("input_ids")
            args, kwargs["inputs_embeds"] = (), self.embed(ids)
        if visual is None:
            self.local.step = Step.continuation(self.text_config, tables, kwargs)
        else:
            self._prepare_cache(kwargs)
            pictures = Pictures(visual, self._facts(), getattr(self.local, "drafts", 0))
            self.local.step = Step.prefill(self.text_config, self.method, pictures, kwargs)
        self.local.begun = kv.distinct_tables(kwargs.get("past_key_values"))
        return args, kwargs

    def _is_cache(self, kwargs: dict[str, Any]) -> bool:
        return hasattr(kwargs.get("past_key_values"), "layers")

    def _facts(self) -> list[TokenFacts]:
        facts = [facts_of(features) for features in self.capture.current()]
        if any(fact is None for fact in facts):
            raise UnsupportedInputError(
                "These picture features were encoded outside the block, or cut in pieces by chunked prefill; "
                "call get_image_features inside todre.prune(...) and leave prefill_chunk_size unset."
            )
        return [fact for fact in facts if fact is not None]

    def _prepare_cache(self, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        use_cache = kwargs.get("use_cache")
        if cache is None and (self.text_config.use_cache if use_cache is None else use_cache):
            cache = kwargs["past_key_values"] = DynamicCache(config=self.text_config)
        if cache is None:
            return
        kv.check_cache(cache, self.n_layers)
        if self.candidates and kv.is_static(cache.layers[0]):
            raise UnsupportedInputError(
                "A static cache cannot get shorter inside the decoder, so stage 2 would save nothing there; "
                "use stages=(1,), or a dynamic cache."
            )

    def _after_decoder(self, module: nn.Module, args: Any, output: Any) -> Any:
        step, self.local.step = self.step, None
        for table in getattr(self.local, "begun", []) or []:
            table.end()
        self.local.begun = []
        if step is None or output is None:
            return output
        for table in kv.distinct_tables(step.cache):
            table.end()
        if step.method is not None:
            fill(self.report, step)
        return step.restore(output)

    def _before_rotary(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        step = self.step
        if step is None or step.rotary_positions is None:
            return None
        return args[:1], kwargs | {"position_ids": step.rotary_positions}


class _LayerHook:
    """Pre-hook of one decoder layer."""

    def __init__(self, attachment: Attachment, index: int) -> None:
        self.attachment, self.index = attachment, index

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

    def __call__(self, query: Tensor, key: Tensor, scaling: float) -> None:
        step = self.attachment.step
        if step is not None:
            step.ask(self.layer, query, key, scaling)
