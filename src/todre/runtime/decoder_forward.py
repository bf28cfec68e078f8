"""The decoder's forward under a method: fast path, continuation or prefill.

`Attachment` puts `DecoderForward.run` in place of the decoder's own forward. Each call goes one of three ways:

* a pruned cache answers for the call by itself (`fast_path`), and the decoder runs untouched;
* a forward without pictures on a pruned cache becomes a `Step` (`continuation`);
* a prompt with pictures becomes a `Step` whose visual tokens are selected (`prefill`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, Door
from todre.hf.contract import check_cache_filled
from todre.hf.decoder import Decoder
from todre.hf.layer_calls import runs_again_bare
from todre.hf.model_parts import attention_backend
from todre.hf.running_forwards import RunningForwards
from todre.hf.wrappers import no_compile, no_compile_shallow
from todre.methods.base import Method
from todre.methods.guard import Guard
from todre.report import PruningReport
from todre.runtime.continuation import continuation
from todre.runtime.fast_path import fast_path_call
from todre.runtime.finish import finish
from todre.runtime.layer_patches import LayerPatches
from todre.runtime.packing import packed_samples, prepare_cache
from todre.runtime.prefill import PromptMedia, prefill
from todre.runtime.reporting import fill
from todre.runtime.samples import media_of, without_absent
from todre.runtime.schedule import Schedule
from todre.runtime.step import Step
from todre.tensors.slots import AttachmentState
from todre.tensors.token_facts import TokenFacts
from todre.tower.capture import SaliencyCapture


class DecoderForward:
    """Stands in for the forward of one decoder while a method is attached.

    Args:
        decoder: the decoder's facts.
        method: the method that is attached.
        schedule: after which decoder layers which methods are asked.
        layer_patches: the patches on the decoder's layers, in place while a step needs them.
        capture: the facts about the media that this thread's forward encoded.
        forwards: the forwards that are running, by thread.
        owner: marks the slot tables of this attachment; closed when the attachment is removed.
        embed: the model's input embeddings, for calls with token ids.
        local: state of the enclosing model's forward, per thread: `prompt`, `outer_mask`, `drafts`, `pruned`.
        report: filled after each prefill of pictures.
        guard: looks at each picture before the method's answer is used; None for no guard.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        method: Method,
        schedule: Schedule,
        layer_patches: LayerPatches,
        capture: SaliencyCapture,
        forwards: RunningForwards,
        owner: AttachmentState,
        embed: Any,
        local: threading.local,
        report: PruningReport,
        guard: Guard | None = None,
    ) -> None:
        self.decoder, self.method, self.schedule = decoder, method, schedule
        self.layer_patches, self.capture, self.forwards = layer_patches, capture, forwards
        self.owner, self.embed, self.local, self.report, self.guard = owner, embed, local, report, guard
        # Read once: every decoding step passes here, and torch.compile traces it.
        self.sees_all, self.text_config = decoder.sees_all, decoder.config
        self.door = Door.of(decoder.module)

    def run(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The decoder's output; its own `forward` runs untouched where no step is needed."""
        call = self.door.read(args, kwargs)
        if torch.compiler.is_compiling() or not (self.capture.current() or self.layer_patches.step is not None):
            fast = self.fast_path(call)
            if fast is call:
                return forward(*args, **kwargs)
            if fast is not None:
                return forward(**self.door.write(fast))
        return self._run_joined(forward, call)

    def fast_path(self, call: DecoderCall) -> DecoderCall | None:
        """The decoder call where no step is needed (`fast_path_call`), or None."""
        return fast_path_call(self.sees_all, attention_backend(self.text_config), call)

    @no_compile_shallow
    def _run_joined(self, forward: Callable[..., Any], call: DecoderCall) -> Any:
        """The output of a forward that `detach` waits for."""
        if not self.forwards.join():
            return forward(**self.door.write(call))
        try:
            return self._run_step(forward, call)
        finally:
            self.forwards.leave()

    @no_compile_shallow
    def _run_step(self, forward: Callable[..., Any], call: DecoderCall) -> Any:
        """The output of a forward with pictures, or on a cache that needs a step."""
        try:
            call, step = self._prepare(call)
            with self.layer_patches.running(step), set_aside(self.local, self.capture.local):
                output = forward(**self.door.write(call))
        finally:
            self._close_tables(call)
        return output if step is None else self._complete(step, output)

    @no_compile
    def _prepare(self, call: DecoderCall) -> tuple[DecoderCall, Step | None]:
        """The call with which to run the decoder, and its step; None without a step."""
        facts = self.capture.current()  # empty in a forward without pictures
        if hasattr(call.cache, "layers"):
            kv.set_owner(call.cache, self.owner)
        fast = None if facts else self.fast_path(call)
        if fast is not None:
            return fast, None
        # From here on `call` is changed in place.
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
        # Where the decoder is called by itself, the caller made its mask, and no enclosing model did.
        outer = getattr(self.local, "outer_mask", None) if self.capture.within else call.mask
        return call, continuation(self.decoder, tables, outer, call)

    def _prefill(self, facts: dict[str, list[TokenFacts]], call: DecoderCall) -> Step:
        """The step of a prompt with pictures; `call` is rewritten in place."""
        prompt = self.local.prompt
        # Before 5.23 a checkpointed layer runs again without its patch, see `runs_again_bare`.
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
            facts = facts | {"video": without_absent(facts["video"], prompt.stays)}
        prompt_media = PromptMedia(media_of(facts, prompt.media_columns), getattr(self.local, "drafts", 0), prompt)
        step = prefill(self.decoder, self.method, self.schedule, prompt_media, call, self.guard)
        step.segments, self.local.pruned = segments, True
        return step

    @no_compile
    def _close_tables(self, call: DecoderCall) -> None:
        """Close the slot tables of the cache after the decoder has run or failed."""
        if hasattr(call.cache, "layers"):
            for table in kv.distinct_tables(call.cache):
                table.end()
            kv.set_owner(call.cache, self.owner)

    @no_compile
    def _complete(self, step: Step, output: Any) -> Any:
        """The decoder's output at its full length; a prefill of pictures fills the report."""
        inputs = step.inputs
        if inputs.method is not None and inputs.cache is not None:
            check_cache_filled(inputs.cache, output)
        output = finish(step, output)
        if inputs.method is not None:
            fill(self.report, step, self.capture.layer_lengths())
        return output


@contextmanager
def set_aside(*states: threading.local) -> Iterator[None]:
    """Empty this thread's `states` inside the block, and put them back after it.

    So a nested forward of the same model, as from a hook, starts anew.
    """
    held = [vars(state) for state in states]
    saved = [dict(values) for values in held]
    for values in held:
        values.clear()
    try:
        yield
    finally:
        for values, before in zip(held, saved, strict=True):
            values.clear()
            values.update(before)
