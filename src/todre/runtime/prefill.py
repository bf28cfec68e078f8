"""Prefill: select visual tokens, and give the decoder the columns that are kept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from todre.errors import GuardWarning
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall, contiguous, embeddings_of
from todre.hf.decoder import Decoder
from todre.hf.layer_calls import repack
from todre.methods.base import Method
from todre.methods.guard import Guard
from todre.runtime.guarded import warning_of
from todre.runtime.incoming_masks import block_masks_of
from todre.runtime.layer_masks import set_masks
from todre.runtime.positions import set_positions
from todre.runtime.prompt import Prompt
from todre.runtime.samples import Media, Samples, visual_tokens
from todre.runtime.schedule import Schedule
from todre.runtime.selection import BatchSelection, select_batch
from todre.runtime.slot_tables import extend_tables
from todre.runtime.step import DecoderInputs, InFlight, LayerAnswers, Step
from todre.tensors.columns import TEXT, Compaction, compact, token_kinds
from todre.tensors.row_counts import RowCounts
from todre.tensors.transfer import fetch, upload


@dataclass(frozen=True)
class PromptMedia:
    """A prompt, and the pictures and clips in it.

    Attributes:
        media: the pictures, the clips, or both.
        drafts: trailing columns that assisted decoding proposed.
        prompt: the prompt, on the host.
    """

    media: list[Media]
    drafts: int
    prompt: Prompt

    @property
    def visual(self) -> Tensor:
        """All visual columns, (b, q) bool on the host."""
        visual = self.media[0].visual
        for more in self.media[1:]:
            visual = visual | more.visual
        return visual


@dataclass(frozen=True, kw_only=True)
class _ColumnClasses:
    """Classes of a prompt's columns, on the host.

    Attributes:
        past: logical columns before this forward.
        mask: (b, past + q) bool, False at padding; None without a mask.
        valid: (b, q) bool, False at padding, for this forward's columns alone.
        visual: (b, q) bool, visual columns.
        had_picture: (b,) bool, True for rows whose cache holds or held visual tokens.
        kinds: (b, q) int8, classes of `tensors.columns`.
    """

    past: int
    mask: Tensor | None
    valid: Tensor
    visual: Tensor
    had_picture: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, prompt_media: PromptMedia, call: DecoderCall) -> _ColumnClasses:
        """The column classes of the prompt in the decoder's `call`."""
        prompt, visual = prompt_media.prompt, prompt_media.visual
        past = prompt.past_of(call.cache)
        mask = prompt.mask_of(call.mask, call.cache, past, call.columns)
        valid = mask[:, past:] if mask is not None else torch.ones_like(visual)
        earlier = prompt.had_picture
        if earlier is None:
            earlier = torch.zeros(call.rows, dtype=torch.bool, device="cpu")
        kinds = token_kinds(visual, valid, earlier, prompt_media.drafts)
        return cls(past=past, mask=mask, valid=valid, visual=visual, had_picture=earlier, kinds=kinds)


def prefill(
    decoder: Decoder,
    method: Method,
    schedule: Schedule,
    prompt_media: PromptMedia,
    call: DecoderCall,
    guard: Guard | None = None,
) -> Step:
    """The step of a prompt whose visual tokens were selected.

    `call` is rewritten in place for the columns that are kept.

    Args:
        decoder: the decoder's facts.
        method: decides which visual tokens stay.
        schedule: after which layers which methods are asked.
        prompt_media: the prompt and its media.
        call: the decoder's call.
        guard: looks at each picture before the method's answer is used; None for no guard.

    Raises:
        UnsupportedInputError: the prompt or its mask cannot be shortened exactly.
    """
    schedule.check(call.deepstack)
    # What each column holds, on the host; then stage 1 asks the method.
    embeds, classes = embeddings_of(call), _ColumnClasses.of(prompt_media, call)
    started = time.perf_counter()
    samples = visual_tokens(embeds, prompt_media.media, classes.kinds == TEXT)
    kinds, visual = upload(torch.stack([classes.kinds, classes.visual.to(classes.kinds.dtype)]), embeds.device)
    selection = select_batch(method, samples, visual > 0, embeds, guard)
    select_seconds = time.perf_counter() - started
    warning = None if guard is None else warning_of(guard, selection.findings)
    if warning is not None:
        warnings.warn(warning, GuardWarning, stacklevel=2)
    if selection.embeddings is not None:
        call.embeds = selection.embeddings
    # The step, still with all columns that came in.
    mask = None if classes.mask is None or bool(classes.mask.all()) else upload(classes.mask, embeds.device)
    causal = prompt_media.prompt.causal(call.mask)
    inputs = DecoderInputs(
        decoder=decoder,
        cache=call.cache,
        past=classes.past,
        length=call.columns,
        mask=mask,
        block_masks=None if causal else block_masks_of(call.mask, call.columns, classes.valid),
        method=method,
        schedule=schedule,
        visual=visual > 0,
    )
    step = Step(
        inputs=inputs,
        in_flight=_in_flight(classes, kinds, call, padded=mask is not None),
        answers=_layer_answers(schedule, samples, call),
        selection=selection,
        select_seconds=select_seconds,
        text_counts=(classes.valid & ~classes.visual).sum(dim=1).tolist(),
    )
    # Columns that were not selected leave the step and the call, and never enter the cache's tables.
    packing = _pack_selected(step, selection, classes.valid)
    _enter(step, selection, packing, call, prompt_media.prompt.cached_visual)
    return step


def incoming_columns(past: int, call: DecoderCall) -> Tensor:
    """Logical columns that the decoder's `call` adds after `past` others, (b, q)."""
    device = embeddings_of(call).device
    return torch.arange(past, past + call.columns, device=device, dtype=torch.int64).expand(call.rows, call.columns)


def _in_flight(classes: _ColumnClasses, kinds: Tensor, call: DecoderCall, padded: bool) -> InFlight:
    """The columns in flight before any column has left.

    Args:
        classes: classes of the prompt's columns, on the host.
        kinds: (b, q) int8, the columns' classes on the device.
        call: the decoder's call.
        padded: True if some columns are padding.
    """
    return InFlight(
        columns=incoming_columns(classes.past, call),
        kinds=kinds,
        counts=RowCounts.of(classes.kinds, classes.had_picture.tolist()),
        padded=padded,
    )


def _layer_answers(schedule: Schedule, samples: Samples, call: DecoderCall) -> LayerAnswers:
    """The record of what methods between layers are shown, at its start."""
    reads_inputs = any(each.reads_inputs for methods in schedule.reducers.values() for each in methods)
    return LayerAnswers(
        signal_maps=samples.signal_maps(call.columns) if schedule.reducers else {},
        entry=call.embeds if reads_inputs else None,
    )


def _pack_selected(step: Step, selection: BatchSelection, valid: Tensor) -> Compaction | None:
    """How columns are packed after columns not selected left; None if all stay.

    The columns that leave are subtracted from the counts of `step`.

    Args:
        step: the forward.
        selection: the visual tokens that are kept.
        valid: (b, q) bool on the host, False at padding.
    """
    inputs = step.inputs
    if selection.counts == selection.offered or inputs.visual is None:
        return None
    staying = selection.keep | ~inputs.visual
    if inputs.mask is not None:
        staying = staying & inputs.mask[:, inputs.past :]
    counts = step.in_flight.counts
    left = counts.with_visual(_count_selected(counts, selection, valid))
    step.in_flight = replace(step.in_flight, counts=left)
    return compact(staying, left.total)


def _count_selected(counts: RowCounts, selection: BatchSelection, valid: Tensor) -> list[int]:
    """Number of selected tokens in each row that are not padding.

    Tokens are counted on the device only if a mask hides visual tokens.
    """
    if counts.visual == tuple(selection.offered):
        return selection.counts
    shown = selection.keep & upload(valid, selection.keep.device)
    return list(fetch([shown.sum(dim=1)])[0].tolist())


def _enter(
    step: Step,
    selection: BatchSelection,
    packing: Compaction | None,
    call: DecoderCall,
    cached_visual: Mapping[int, list[int]],
) -> None:
    """Give the decoder the packed prompt, and the cache its slot tables.

    Args:
        step: the forward.
        selection: the visual tokens that are kept.
        packing: from all columns of the prompt to the columns that are kept; None if all are kept.
        call: the decoder's call, changed in place.
        cached_visual: by id of slot table, number of visual slots in each row (`Prompt.cached_visual`).
    """
    shifts = set_positions(step, call, packing)
    if packing is not None:
        repack(call, packing, selection.stays)
        step.in_flight = step.in_flight.take(packing, step.in_flight.counts)
    step.record(0)
    extend_tables(step, packing, shifts, cached_visual)
    embeds = embeddings_of(call)
    if packing is not None or any(not table.identity for table in kv.distinct_tables(step.inputs.cache)):
        set_masks(step, call, embeds)
    if step.rotary_positions is not None:
        call.positions = contiguous(step.inputs.past, embeds.shape[1], embeds.device)
