"""Ties facts about visual tokens to what a model encodes, by wrapping the given instance's encoding methods.

`get_image_features` and `get_video_features` are called by `forward` or, before prefill, by `generate`, which may then
repeat their result for beams. The facts travel on the result itself; who repeats samples is told later, by counting.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from todre.attention import Seen, attention_modules, cls_attention, received_attention, watch
from todre.compat import PreTrainedModel
from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.facts import KINDS, SaliencyRequest, TokenFacts
from todre.families import Family, has_cls
from todre.layouts import Encoding, rasters
from todre.wrapped import Mark, Removable, bare, untraced, untraced_here

_ATTRIBUTE = "todre_facts"


class SaliencyCapture:
    """Ties `TokenFacts` to all media that `model` encodes, until `remove`."""

    def __init__(self, model: PreTrainedModel, family: Family, request: SaliencyRequest | None) -> None:
        self.base = bare(model.base_model)
        self.config = model.config
        self.family = family
        self.cls_first = has_cls(model, family)
        self.kind = self._kind(request)
        self.local = threading.local()
        self.handles: list[Removable] = [Mark(self.base)]
        if request is not None and self.kind is not None:
            for tower in self._towers():
                self.handles += watch(_layer(tower, request.layer), self._listen, when=self._encoding)
        self.originals: dict[str, Callable[..., Any]] = {}
        for kind in KINDS:
            original = getattr(self.base, _method(kind), None)
            if original is not None and family.layout(kind) is not None:
                self.originals[kind] = original
                setattr(self.base, _method(kind), self._wrapped(kind, original))

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        for kind in self.originals:
            delattr(self.base, _method(kind))

    def announce(self, encoded: Mapping[str, Any]) -> None:
        """The enclosing forward starts; on the way to `begin`, moving media between devices may make them anew."""
        self.local.announced = {kind: facts_of(media) for kind, media in encoded.items()}

    def begin(self, encoded: Mapping[str, Any]) -> None:
        """A forward starts; `encoded` holds, by kind, media encoded before it."""
        self.local.facts = {}
        announced = getattr(self.local, "announced", {})
        for kind in KINDS:
            if encoded.get(kind) is not None:
                facts = facts_of(encoded[kind]) or announced.get(kind)
                if facts is None:
                    raise UnsupportedInputError(
                        "These picture features were encoded outside the block, or cut in pieces by chunked prefill; "
                        "call get_image_features inside todre.prune(...) and leave prefill_chunk_size unset."
                    )
                self.local.facts[kind] = facts

    def current(self) -> dict[str, list[TokenFacts]]:
        """By kind, the facts of the media of this thread's forward, one entry as the model encodes them."""
        return getattr(self.local, "facts", None) or {}

    def end(self) -> None:
        """The forward is over."""
        self.local.facts, self.local.announced = {}, {}

    def _kind(self, request: SaliencyRequest | None) -> str | None:
        """What is watched: `cls`, `received`, or nothing."""
        if request is None:
            return None
        tower = self._towers()[0].__class__.__name__ if self._towers() else "of this model"
        if request.kind == "cls" and not self.cls_first:
            raise UnsupportedModelError(
                f"The vision tower {tower} has no [CLS] token; use pivot='received', pivot='random' or pivot='auto'."
            )
        readable = self.family.saliency and all(attention_modules(tower) for tower in self._towers())
        if not readable and request.kind != "auto":
            raise UnsupportedModelError(
                f"Attention in the vision tower {tower} cannot be followed to visual tokens; "
                "use a method without saliency, such as todre with pivot='random'."
            )
        if request.kind == "auto":
            return ("cls" if self.cls_first else "received") if readable else None
        return request.kind

    def _towers(self) -> list[nn.Module]:
        found = [getattr(self.base, name, None) for name in self.family.towers]
        return [tower for tower in found if isinstance(tower, nn.Module)]

    def _encoding(self) -> bool:
        return getattr(self.local, "seen", None) is not None

    def _listen(self, seen: Seen) -> None:
        if self.kind == "cls":
            self.local.seen.append(cls_attention(seen))
        else:
            received = received_attention(seen)
            self.local.seen.append(received[:, 1:] if self.cls_first else received)

    def _wrapped(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @untraced_here
        @functools.wraps(original)
        def encode(*args: Any, **kwargs: Any) -> Any:
            return self._encode(kind, original, args, kwargs)

        return encode

    @untraced_here
    def _encode(self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._encoding():  # clips may be encoded as pictures by the model itself
            return original(*args, **kwargs)
        self.local.seen = []
        try:
            output = original(*args, **kwargs)
            saliency = self.local.seen
        finally:
            self.local.seen = None
        if getattr(output, self.family.features, None) is not None:
            self._tie(kind, output, saliency, inspect.signature(original).bind(*args, **kwargs))
        return output

    @untraced
    def _tie(self, kind: str, output: Any, saliency: list[Tensor], call: inspect.BoundArguments) -> None:
        """Put facts about its tokens on `output`, which `call` made."""
        features = getattr(output, self.family.features)
        arguments = dict(call.arguments)
        arguments |= arguments.pop("kwargs", {})
        encoding = Encoding(
            self.base,
            self.config,
            arguments,
            entry_lengths(features),
            saliency,
            self.cls_first and self._strategy(arguments) == "full",
            features[0].device,
        )
        facts = self._laid_out(kind, encoding)
        setattr(output, _ATTRIBUTE, facts)
        if isinstance(features, list | tuple) and len(features) == len(facts):
            for entry, fact in zip(features, facts, strict=True):
                setattr(entry, _ATTRIBUTE, fact)
        current = self.current()
        self.local.facts = current | {kind: current.get(kind, []) + facts}

    def _strategy(self, arguments: dict[str, Any]) -> str | None:
        given = arguments.get("vision_feature_select_strategy")
        return given or getattr(self.config, "vision_feature_select_strategy", None)

    def _laid_out(self, kind: str, encoding: Encoding) -> list[TokenFacts]:
        layout = self.family.layout(kind)
        assert layout is not None
        if getattr(getattr(self.config, "vision_config", None), "model_type", None) == "pixtral":
            layout = rasters
        facts = layout(encoding)
        have, laid_out = sum(encoding.lengths), sum(len(fact) for fact in facts)
        if have != laid_out:
            raise UnsupportedInputError(
                f"The pictures have {have} visual tokens but their layout gives {laid_out}; "
                "this way of encoding pictures is not supported."
            )
        return facts


def facts_of(encoded: Any) -> list[TokenFacts] | None:
    """The facts of encoded media: those of the result as a whole, or of entries that were taken out of such results.

    So pictures may be encoded once, inside the block, and asked about in any order and company.
    """
    whole: list[TokenFacts] | None = getattr(encoded, _ATTRIBUTE, None)
    entries = getattr(encoded, "pooler_output", None)
    if whole is not None or not isinstance(entries, list | tuple):
        return whole
    single = [getattr(entry, _ATTRIBUTE, None) for entry in entries]
    return [fact for fact in single if fact is not None] if None not in single else None


def _method(kind: str) -> str:
    return f"get_{kind}_features"


def _layer(tower: nn.Module, layer: int) -> nn.Module:
    modules = attention_modules(tower)
    if not -len(modules) <= layer < len(modules):
        raise UnsupportedModelError(
            f"The vision tower {type(tower).__name__} has {len(modules)} layers, and layer {layer} is asked for."
        )
    return modules[layer]


def entry_lengths(features: Any) -> list[int]:
    """Visual tokens of each entry: of a list of (n, d) or a tensor (entries, n, d); one (n, d) is a single entry."""
    if isinstance(features, Tensor) and features.ndim == 2:
        return [int(features.shape[0])]
    return [int(entry.reshape(-1, entry.shape[-1]).shape[0]) for entry in features]
