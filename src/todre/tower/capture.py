"""Ties facts about visual tokens to what a model encodes, by wrapping the given instance's encoding methods.

`get_image_features` and `get_video_features` are called by `forward` or, before prefill, by `generate`, which may then
repeat their result for beams. The facts travel on the result itself; who repeats samples is told later, by counting.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.fields import fitted
from todre.hf.anyres import anyres
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.encoding import Encoding
from todre.hf.families import Family
from todre.hf.leading_tokens import discarded_count, leading_of
from todre.hf.model_parts import base_module, entries_of
from todre.hf.running_forwards import RunningForwards
from todre.hf.versions import PreTrainedModel
from todre.hf.visual_layouts import rasters
from todre.hf.wrappers import CompileGuard, InstancePatch, Removable, bare, no_compile, no_compile_shallow
from todre.methods.base import Method
from todre.methods.views.vision_tower import Cut
from todre.tensors.attention import AttentionInputs
from todre.tensors.token_facts import KINDS, Signal, TokenFacts
from todre.tower.hooks import TowerReduction
from todre.tower.runs import Lengths
from todre.tower.signals import host_arguments, read_signal, side_by_side, watched_layer
from todre.tower.tiles import cuts_of

_ATTRIBUTE, _TOWER = "todre_facts", "todre_tower"


class SaliencyCapture:
    """Ties `TokenFacts` to all media that `model` encodes, until `remove`.

    Args:
        model: the model that encodes.
        family: its facts.
        requests: the signals that are asked for.
        tower: a method that acts in or before the vision tower, if one does.
        forwards: the forwards under way; a tower that is encoding is one of them.
        earlier: whether this thread's forward began before anybody attached; its media are nobody's business.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        family: Family,
        requests: Sequence[Signal],
        tower: Method | None = None,
        forwards: RunningForwards | None = None,
        earlier: Callable[[], bool] | None = None,
    ) -> None:
        self.forwards, self.earlier = RunningForwards() if forwards is None else forwards, earlier
        self.base = bare(base_module(model))
        self.config = model.config
        self.family = family
        self.leading = leading_of(getattr(model.config, "vision_config", None))
        self.requests = tuple(dict.fromkeys(fitted("What signals answers", requests, tuple[Signal, ...])))
        self.kinds = {request: kind for request in self.requests if (kind := self._kind(request)) is not None}
        self.local = threading.local()
        # Everything that may be refused comes before the first change to the model.
        watched = [(watched_layer(module, each.layer), each) for module in self._towers() for each in self.kinds]
        self.reduction = None if tower is None else TowerReduction(model, family, tower)
        self.handles: list[Removable] = []
        try:
            self._put(watched)
        except BaseException:
            self.remove()
            raise

    def _put(self, watched: Sequence[tuple[nn.Module, Signal]]) -> None:
        self.handles.append(CompileGuard(self.base))
        for module, request in watched:
            self.handles += watch(module, _Listener(self, request), when=self._encoding)
        for kind in KINDS:
            original = getattr(self.base, _method(kind), None)
            if original is not None and self.family.layout(kind) is not None:
                self.handles.append(InstancePatch(self.base, _method(kind), self._wrapper(kind, original)))

    def remove(self) -> None:
        """Leave the model as it was."""
        self.earlier = None
        while self.handles:
            self.handles.pop().remove()
        if self.reduction is not None:
            self.reduction.remove()

    @property
    def within(self) -> bool:
        """Whether this thread is in a forward of the base that was attached to when it began."""
        return getattr(self.local, "within", False)

    @within.setter
    def within(self, now: bool) -> None:
        self.local.within = now

    def announce(self, encoded: Mapping[str, Any]) -> None:
        """The enclosing forward starts; on the way to `begin`, moving media between devices may make them anew."""
        self.local.announced = {kind: facts_of(media) for kind, media in encoded.items()}
        self.local.earlier_lengths = {kind: getattr(media, _TOWER, []) for kind, media in encoded.items()}

    def begin(self, encoded: Mapping[str, Any]) -> None:
        """A forward starts; `encoded` holds, by kind, media encoded before it."""
        self.local.facts, self.local.lengths = {}, []
        announced, before = getattr(self.local, "announced", {}), getattr(self.local, "earlier_lengths", {})
        for kind in KINDS:
            if encoded.get(kind) is not None:
                facts = facts_of(encoded[kind]) or announced.get(kind)
                if facts is None:
                    raise UnsupportedInputError(
                        "These picture features were encoded outside the block, or cut in pieces by chunked prefill; "
                        "call get_image_features inside todre.prune(...) and leave prefill_chunk_size unset."
                    )
                self.local.facts[kind] = facts
                self.local.lengths += getattr(encoded[kind], _TOWER, None) or before.get(kind, [])

    def current(self) -> dict[str, list[TokenFacts]]:
        """By kind, the facts of the media of this thread's forward, one entry as the model encodes them."""
        return getattr(self.local, "facts", None) or {}

    def layer_lengths(self) -> list[Lengths]:
        """What the towers' layers ran on for the media of this thread's forward, if a method acts in them."""
        return getattr(self.local, "lengths", None) or []

    def end(self) -> None:
        """The forward is over."""
        self.local.facts, self.local.announced = {}, {}
        self.local.lengths, self.local.earlier_lengths = [], {}

    def _kind(self, request: Signal) -> str | None:
        """What is watched for a request: `cls`, `received`, `keys`, `grid`, or nothing."""
        tower = self._towers()[0].__class__.__name__ if self._towers() else "of this model"
        leading = self.leading
        if request.kind == "cls" and leading is not None and not leading.cls:
            several = f"has {leading.others} tokens before its patches, none of which is the one [CLS]"
            raise UnsupportedModelError(
                f"The vision tower {tower} {several if leading.others else 'has no [CLS] token'}; "
                "use pivot='received', pivot='random' or pivot='auto'."
            )
        readable = (
            self.family.saliency and leading is not None and all(attention_modules(tower) for tower in self._towers())
        )
        if not readable and request.kind not in ("auto", "grid"):
            raise UnsupportedModelError(
                f"Attention in the vision tower {tower} cannot be followed to visual tokens; "
                "use a method without saliency, such as todre with pivot='random'."
            )
        if request.kind == "auto":
            return ("cls" if leading is not None and leading.cls else "received") if readable else None
        return request.kind if readable else None

    def _towers(self) -> list[nn.Module]:
        found = [getattr(self.base, name, None) for name in self.family.towers]
        return [tower for tower in found if isinstance(tower, nn.Module)]

    def before(self) -> int:
        """How many tokens of the tower stand before its patches."""
        return 0 if self.leading is None else self.leading.count

    def _encoding(self) -> bool:
        return getattr(self.local, "signals", None) is not None

    def listen(self, request: Signal, attention_inputs: AttentionInputs) -> None:
        """Take down a signal of a tower's layer: (tiles, patches, c)."""
        self.local.signals[request].append(read_signal(self.kinds[request], attention_inputs, self.before()))

    def _wrapper(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @no_compile_shallow
        @functools.wraps(original)
        def encode(*args: Any, **kwargs: Any) -> Any:
            return self._encode(kind, original, args, kwargs)

        return encode

    @no_compile_shallow
    def _encode(self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._encoding():  # clips may be encoded as pictures by the model itself
            return original(*args, **kwargs)
        earlier = self.earlier
        if earlier is not None and earlier():
            return original(*args, **kwargs)
        if not self.forwards.join():
            return original(*args, **kwargs)
        try:
            return self._encode_watched(kind, original, args, kwargs)
        finally:
            self.forwards.leave()

    def _encode_watched(
        self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        arguments = host_arguments(original, args, kwargs)
        self.local.signals = {request: [] for request in self.kinds}
        try:
            with nullcontext() if self.reduction is None else self.reduction.encoding(self._cuts(kind, arguments)):
                output = original(*args, **kwargs)
                signals = self.local.signals if self.reduction is None else self.reduction.complete(self.local.signals)
                lengths = [] if self.reduction is None else self.reduction.layer_lengths()
        finally:
            self.local.signals = None
        if getattr(output, self.family.features, None) is not None:
            self._tie(kind, output, signals, arguments)
            setattr(output, _TOWER, lengths)
            self.local.lengths = self.layer_lengths() + lengths
        return output

    def _cuts(self, kind: str, arguments: dict[str, Any]) -> list[Cut] | None:
        """How pictures are cut, if the method asks; clips have no thumbnails."""
        wanted = self.reduction is not None and self.reduction.crops and self.family.layout(kind) is anyres
        return cuts_of(self.config, arguments) if wanted else None

    @no_compile
    def _tie(self, kind: str, output: Any, signals: dict[Signal, list[Tensor]], arguments: dict[str, Any]) -> None:
        """Put facts about its tokens on `output`, which was made of `arguments`."""
        features = getattr(output, self.family.features)
        widths = {request: int(parts[0].shape[-1]) if parts else 1 for request, parts in signals.items()}
        widths |= {request: 1 for request in self.requests if request not in widths and request.kind != "grid"}
        encoding = Encoding(
            self.base,
            self.config,
            arguments,
            entry_lengths(features),
            side_by_side(list(signals.values())),
            widths,
            self.before(),
            discarded_count(self.config, arguments),
            features[0].device,
        )
        facts = self._lay_out(kind, encoding)
        setattr(output, _ATTRIBUTE, facts)
        if isinstance(features, list | tuple) and len(features) == len(facts):
            for entry, fact in zip(features, facts, strict=True):
                setattr(entry, _ATTRIBUTE, fact)
        current = self.current()
        self.local.facts = current | {kind: current.get(kind, []) + facts}

    def _lay_out(self, kind: str, encoding: Encoding) -> list[TokenFacts]:
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
    entries = entries_of(encoded)
    if whole is not None or not isinstance(entries, list | tuple):
        return whole
    single = [getattr(entry, _ATTRIBUTE, None) for entry in entries]
    return [fact for fact in single if fact is not None] if None not in single else None


class _Listener:
    """Hands what the layer of a request was called with to the capture."""

    def __init__(self, capture: SaliencyCapture, request: Signal) -> None:
        self.capture, self.request = capture, request

    def __call__(self, attention_inputs: AttentionInputs) -> None:
        self.capture.listen(self.request, attention_inputs)


def _method(kind: str) -> str:
    return f"get_{kind}_features"


def entry_lengths(features: Any) -> list[int]:
    """Visual tokens of each entry: of a list of (n, d) or a tensor (entries, n, d); one (n, d) is a single entry."""
    if isinstance(features, Tensor) and features.ndim == 2:
        return [int(features.shape[0])]
    return [int(entry.reshape(-1, entry.shape[-1]).shape[0]) for entry in features]
