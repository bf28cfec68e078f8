"""Facts about visual tokens, tied to what a model's encoding methods return.

`get_image_features` and `get_video_features` of the one instance are wrapped. They are called by `forward` or, before
prefill, by `generate`, which may then repeat their output for beams. The facts are attributes of the output itself;
how often samples were repeated is counted later from the prompt's visual columns (`runtime/samples.py`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from todre.errors import UnsupportedInputError
from todre.fields import fitted
from todre.hf.anyres import anyres
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.encoding import Encoding
from todre.hf.families import Family
from todre.hf.leading_tokens import discarded_count, leading_of
from todre.hf.model_parts import base_module
from todre.hf.running_forwards import RunningForwards
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import CompileGuard, InstancePatch, Removable, bare, no_compile, no_compile_shallow
from todre.methods.base import Method
from todre.methods.views.vision_tower import Cut
from todre.tensors.attention import AttentionInputs
from todre.tensors.token_facts import KINDS, STROKES, Signal, TokenFacts
from todre.tower.hooks import TowerReduction
from todre.tower.media_facts import (
    entry_lengths,
    facts_of,
    lay_out,
    layer_lengths_of,
    set_facts,
    set_layer_lengths,
)
from todre.tower.runs import Lengths
from todre.tower.signals import host_arguments, read_signal, side_by_side, signal_kind, watched_layer
from todre.tower.strokes import Strokes, fitting
from todre.tower.tiles import cuts_of


class SaliencyCapture:
    """Ties `TokenFacts` to all media that `model` encodes, until `remove`.

    Args:
        model: the model that encodes.
        family: the facts about its family.
        requests: the signals that the method reads.
        tower: a method that acts in or before the vision tower, or None.
        forwards: the running forwards; an encoding tower counts as one.
        earlier: returns True in a thread whose forward began before the attach; that forward's media are left alone.

    Raises:
        UnsupportedModelError: the tower has no such signal, or its tokens cannot be followed.
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
        towers = self._towers()
        name = type(towers[0]).__name__ if towers else "of this model"
        readable = family.saliency and all(attention_modules(each) for each in towers)
        kinds = {each: signal_kind(each, self.leading, name, readable) for each in self.requests}
        self.kinds = {request: kind for request, kind in kinds.items() if kind is not None}
        self.local = threading.local()
        # Everything that may be refused comes before the first change to the model.
        watched = [
            (watched_layer(module, each.layer, kind), each)
            for module in self._towers()
            for each, kind in self.kinds.items()
            if each != STROKES
        ]
        self.reduction = None if tower is None else TowerReduction(model, family, tower)
        self.handles: list[Removable] = []
        try:
            self._put(watched)
        except BaseException:
            self.remove()
            raise

    def _put(self, watched: Sequence[tuple[nn.Module, Signal]]) -> None:
        """Put listeners on the watched layers, and wrappers on the encoding methods."""
        self.handles.append(CompileGuard(self.base))
        for module, request in watched:
            self.handles += watch(module, _Listener(self, request), when=self._encoding)
        if STROKES in self.kinds:
            reading = Strokes(self.config.vision_config, self._found_strokes, when=self._encoding)
            for tower in self._towers():
                self.handles += reading.put(bare(tower))
        for kind in KINDS:
            original = getattr(self.base, _method(kind), None)
            if original is not None and self.family.layout(kind) is not None:
                self.handles.append(InstancePatch(self.base, _method(kind), self._wrapper(kind, original)))

    def remove(self) -> None:
        """Take everything off the model."""
        self.earlier = None
        while self.handles:
            self.handles.pop().remove()
        if self.reduction is not None:
            self.reduction.remove()

    @property
    def within(self) -> bool:
        """True if this thread is in a forward of the base that began after the attach."""
        return getattr(self.local, "within", False)

    @within.setter
    def within(self, now: bool) -> None:
        self.local.within = now

    def announce(self, media: Mapping[str, Any]) -> None:
        """Remember the facts of media that the enclosing model's forward was given.

        Args:
            media: by kind, media encoded before this forward.
        """
        # accelerate's hooks between model and base (1.15) rebuild media that they move to another device, which loses
        # attributes; so they are read here already.
        self.local.announced_facts = {kind: facts_of(output) for kind, output in media.items()}
        self.local.earlier_lengths = {kind: layer_lengths_of(output) for kind, output in media.items()}

    def begin(self, media: Mapping[str, Any]) -> None:
        """Start a forward of the base with the facts of media encoded before it.

        Args:
            media: by kind, media encoded before this forward.

        Raises:
            UnsupportedInputError: the media have no facts, since they were encoded outside the block or cut in pieces.
        """
        self.local.facts, self.local.lengths = {}, []
        announced, before = getattr(self.local, "announced_facts", {}), getattr(self.local, "earlier_lengths", {})
        for kind in KINDS:
            if media.get(kind) is not None:
                facts = facts_of(media[kind]) or announced.get(kind)
                if facts is None:
                    raise UnsupportedInputError(
                        "These picture features were encoded outside the block, or cut in pieces by chunked prefill; "
                        "call get_image_features inside todre.prune(...) and leave prefill_chunk_size unset."
                    )
                self.local.facts[kind] = facts
                self.local.lengths += layer_lengths_of(media[kind]) or before.get(kind, [])

    def current(self) -> dict[str, list[TokenFacts]]:
        """Facts of the media in this thread's forward, by kind, one per encoded entry."""
        return getattr(self.local, "facts", None) or {}

    def layer_lengths(self) -> list[Lengths]:
        """Sequence lengths in the towers' layers, for the media of this thread's forward.

        The list is empty unless a method acts in the tower.
        """
        return getattr(self.local, "lengths", None) or []

    def end(self) -> None:
        """Forget the facts of the forward that has ended."""
        self.local.facts, self.local.announced_facts = {}, {}
        self.local.lengths, self.local.earlier_lengths = [], {}

    def _towers(self) -> list[nn.Module]:
        """The vision towers of the base model."""
        found = [getattr(self.base, name, None) for name in self.family.towers]
        return [tower for tower in found if isinstance(tower, nn.Module)]

    def before(self) -> int:
        """Number of tower tokens that stand before the patches."""
        return 0 if self.leading is None else self.leading.count

    def _encoding(self) -> bool:
        """True while this thread encodes."""
        return getattr(self.local, "signals", None) is not None

    def listen(self, request: Signal, attention_inputs: AttentionInputs) -> None:
        """Record the signal of one call of a watched layer, (tiles, patches, c)."""
        self.local.signals[request].append(read_signal(request, self.kinds[request], attention_inputs, self.before()))

    def _found_strokes(self, found: Tensor | None) -> None:
        """Record the strokes of one call of a tower, (tiles, patches, 1).

        None where they are not known.
        """
        self.local.strokes.append(found)

    def _wrapper(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """An encoding method that ties facts to its output."""

        @no_compile_shallow
        @functools.wraps(original)
        def encode(*args: Any, **kwargs: Any) -> Any:
            return self._encode(kind, original, args, kwargs)

        return encode

    @no_compile_shallow
    def _encode(self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of an encoding method, with facts if this forward is pruned."""
        # The encoding method for clips may call the one for pictures (Qwen3-VL, seen in 5.24): facts are tied once.
        if self._encoding():
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
        """The output of an encoding method, with facts tied to it."""
        arguments = host_arguments(original, args, kwargs)
        self.local.signals = {request: [] for request in self.kinds if request != STROKES}
        self.local.strokes = []
        try:
            with nullcontext() if self.reduction is None else self.reduction.encoding(self._cuts(kind, arguments)):
                output = original(*args, **kwargs)
                signals = self.local.signals if self.reduction is None else self.reduction.complete(self.local.signals)
                lengths = [] if self.reduction is None else self.reduction.layer_lengths()
                if STROKES in self.kinds and (strokes := fitting(self.local.strokes, list(signals.values()))):
                    signals = signals | {STROKES: strokes}
        finally:
            self.local.signals, self.local.strokes = None, None
        if getattr(output, self.family.features, None) is not None:
            self._tie(kind, output, signals, arguments)
            set_layer_lengths(output, lengths)
            self.local.lengths = self.layer_lengths() + lengths
        return output

    def _cuts(self, kind: str, arguments: dict[str, Any]) -> list[Cut] | None:
        """The cuts of pictures into tiles, if the method reads them; None for clips."""
        wanted = self.reduction is not None and self.reduction.crops and self.family.layout(kind) is anyres
        return cuts_of(self.config, arguments) if wanted else None

    @no_compile
    def _tie(self, kind: str, output: Any, signals: dict[Signal, list[Tensor]], arguments: dict[str, Any]) -> None:
        """Tie facts about visual tokens to the `output` of the method that encoded them.

        Args:
            kind: kind of medium.
            output: what the method returned.
            signals: by request, (tiles, patches, c) of each call of the tower.
            arguments: the method's arguments, by name.
        """
        features = getattr(output, self.family.features)
        widths = {request: int(parts[0].shape[-1]) if parts else 1 for request, parts in signals.items()}
        widths |= {request: 1 for request in self.requests if request not in widths and request.kind != "grid"}
        encoding = Encoding(
            base=self.base,
            config=self.config,
            arguments=arguments,
            lengths=entry_lengths(features),
            signals=side_by_side(list(signals.values())),
            widths=widths,
            leading=self.before(),
            discard_count=discarded_count(self.config, arguments),
            device=features[0].device,
        )
        facts = lay_out(self.family, kind, encoding)
        set_facts(output, features, facts)
        current = self.current()
        self.local.facts = current | {kind: current.get(kind, []) + facts}


class _Listener:
    """Passes the inputs of a watched layer's attention to the capture."""

    def __init__(self, capture: SaliencyCapture, request: Signal) -> None:
        self.capture, self.request = capture, request

    def __call__(self, attention_inputs: AttentionInputs) -> None:
        self.capture.listen(self.request, attention_inputs)


def _method(kind: str) -> str:
    """The name of the encoding method of a kind of medium."""
    return f"get_{kind}_features"
