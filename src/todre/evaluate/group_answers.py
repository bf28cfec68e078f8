"""Answers to a group of pictures under one condition, sharing the common work."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from todre.clips import clip_of_frames
from todre.errors import UnsupportedInputError
from todre.evaluate.batch_answers import (
    LAYERS_APART,
    Reply,
    answer,
    answer_packed,
    asks_first,
    can_share,
    check_room,
    encode,
    reply_of,
    tensors,
)
from todre.evaluate.conditions import Condition
from todre.evaluate.packed_questions import takes_masks
from todre.evaluate.selection_cache import remembering
from todre.evaluate.shared_prefill import Beginnings, Store, untouched
from todre.evaluate.tasks import Item
from todre.evaluate.wide_products import wide_products
from todre.geometry.sizes import Size
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import IDS, MASK
from todre.hf.model_parts import decoder_depth, decoder_module
from todre.hf.short_queries import plain_short_queries
from todre.loading.model import Loaded
from todre.methods.base import Method, NoPruning
from todre.methods.guard import Guard
from todre.processing import apply_batch, check_columns
from todre.processing.downsampling import Shower, Shown, check_shown
from todre.pruning import prune_reported
from todre.runtime.selection import signals_of
from todre.tiny import SHIPPED_VIDEO

_ENCODED_APART = ("llava_next",)
"""Model types whose pictures are encoded once; all others get whole prompts."""
FPS = 2.0
"""Frames per second of an item's clip; some families write times into the prompt."""
AnswerTuple = tuple[str, int, float, int | None]
"""One reply: text, visual tokens, their mean over layers, and the drop's layer.

The visual tokens are counted on entry to the decoder. The drop's layer is the count of layers run when all visual
tokens were dropped, or None if they never were.
"""


@dataclass(frozen=True)
class _Group:
    """Pictures of a group and its distinct questions, each once.

    Attributes:
        number: the group's number, from 0.
        sizes: (width, height) of each picture as the processor saw it.
        pixels: each picture's tensors.
        prompts: token ids of each distinct question.
        pictures: 0-based index in `pixels` of each question's picture.
        limits: most new tokens of each question.
    """

    number: int
    sizes: tuple[Size, ...]
    pixels: tuple[dict[str, Tensor], ...]
    prompts: tuple[Tensor, ...]
    pictures: tuple[int, ...]
    limits: tuple[int, ...]


class Asker:
    """A model in memory that answers groups of items.

    Args:
        loaded: model and processor.
        groups: the items of each group; items about the same picture are in the same group.
        batch_size: most rows of one forward.
        guard: looks at each picture under methods that drop something; None for no guard.
    """

    def __init__(
        self, loaded: Loaded, groups: Sequence[Sequence[Item]], batch_size: int, guard: Guard | None = None
    ) -> None:
        self.loaded, self.groups, self.batch_size, self.guard = loaded, groups, batch_size, guard
        self._shower = Shower(loaded.processor, loaded.model.config)
        self._number: int | None = None
        self._groups: dict[Method | None, _Group] = {}
        self._features: dict[Hashable, list[Tensor]] = {}
        self._stores: dict[tuple[Size, ...], Store] = {}

    @torch.inference_mode()
    def answer(self, number: int, condition: Condition) -> tuple[list[AnswerTuple], float]:
        """Replies to each item of a group, in order, and the processor seconds they took."""
        started = time.process_time()
        distinct = list({_key(item): item for item in self.groups[number]}.values())
        method = remembering(condition.method_for(number))
        if self.guard is not None:
            self.guard.check(method)
        runs = NoPruning() if method.in_pixels else method
        with wide_products(), plain_short_queries(), prune_reported(self.loaded.model, runs, self.guard) as report:
            if self._apart(distinct):
                group = self._prepared(number, distinct, method)
                replies = self._encoded_apart(group, runs, report)
            else:
                replies = self._whole_prompts(distinct, method, report)
        by_key = {_key(item): _as_tuple(reply) for item, reply in zip(distinct, replies, strict=True)}
        return [by_key[_key(item)] for item in self.groups[number]], time.process_time() - started

    def _apart(self, items: Sequence[Item]) -> bool:
        known = self.loaded.model.config.model_type in _ENCODED_APART
        return known and all(len(item.media) == 1 and not item.video for item in items)

    def _encoded_apart(self, group: _Group, method: Method, report: Any) -> list[Reply]:
        features = self._encoded(group, (group.sizes, signals_of(method, self.guard), method.tower()))
        share = can_share(method, decoder_depth(self.loaded.model))
        if share and (found := self._packed(group, features, report)) is not None:
            return found
        beginnings = None if share else self._beginnings(method, group)
        replies: dict[int, Reply] = {}
        for places in self._batches(group, share):
            prompts = [group.prompts[place] for place in places]
            shown = [features[group.pictures[place]] for place in places]
            with nullcontext() if beginnings is None else beginnings.of([group.pictures[p] for p in places], prompts):
                answers = answer(self.loaded, report, prompts, shown, group.limits[places[0]], share)
            replies.update(zip(places, answers, strict=True))
        return [replies[place] for place in range(len(group.prompts))]

    def _packed(self, group: _Group, features: Sequence[Tensor], report: Any) -> list[Reply] | None:
        shown = [features[picture] for picture in group.pictures]
        return answer_packed(self.loaded, report, group.prompts, shown, group.limits)

    def _beginnings(self, method: Method, group: _Group) -> Beginnings | None:
        """Shared prefix states of a group, for methods that leave the first layers alone.

        The states are kept for later methods of this kind.
        """
        model = self.loaded.model
        count, watched = untouched(method, decoder_depth(model))
        known = decoder_module(model).config.model_type in LAYERS_APART and takes_masks(model)
        if not known or asks_first(method) or not (count or watched):
            return None
        own = method.selects or method.tower() is not None
        return Beginnings(model, count, watched, Store() if own else self._stores.setdefault(group.sizes, Store()))

    def _prepared(self, number: int, items: Sequence[Item], method: Method) -> _Group:
        """The pictures and prompts of a group, prepared once.

        Each method that resizes pictures has its own preparation, and all others share one.
        """
        if self._number != number:
            self._number, self._groups, self._features, self._stores = number, {}, {}, {}
        key = method if method.in_pixels else None
        if key not in self._groups:
            self._groups[key] = self._prepare(number, items, method)
        return self._groups[key]

    def _prepare(self, number: int, items: Sequence[Item], method: Method) -> _Group:
        names = list(dict.fromkeys(item.picture for item in items))
        shown: list[Shown] = []
        pixels: list[dict[str, Tensor]] = []
        prompts: dict[int, Tensor] = {}
        for name in names:
            about = [place for place, item in enumerate(items) if item.picture == name]
            one = self._shower.show(method, [items[about[0]].media[0]()])
            tensor, ids = tensors(self.loaded, one.pictures[0], [items[place].question for place in about])
            check_shown(self.loaded.model.config, one, ids)
            shown.append(one)
            pixels.append(tensor)
            prompts.update(zip(about, ids, strict=True))
        return _Group(
            number=number,
            sizes=tuple(size for one in shown for size in one.sizes),
            pixels=tuple(pixels),
            prompts=tuple(prompts[place] for place in range(len(items))),
            pictures=tuple(names.index(item.picture) for item in items),
            limits=tuple(item.new_tokens for item in items),
        )

    def _encoded(self, group: _Group, key: Hashable) -> list[Tensor]:
        """Visual tokens of each picture, encoded once per `key`; call it inside `prune`.

        Args:
            group: the pictures.
            key: the pictures' sizes, the method's signals and its work in the tower, on which the encoding depends.
        """
        if key not in self._features:
            self._features[key] = [encode(self.loaded.model, pixels) for pixels in group.pixels]
        return self._features[key]

    def _batches(self, group: _Group, share: bool) -> Iterator[list[int]]:
        """Batches of 0-based question indices, short answers apart from long answers.

        If beginnings are shared, batches go picture by picture. Otherwise prompts of equal length go together, because
        a batch without padding needs no mask, which makes attention a third faster.
        """

        def alike(place: int) -> tuple[int, int]:
            return group.limits[place], 0 if share else len(group.prompts[place])

        def order(place: int) -> tuple[tuple[int, int], int, int]:
            return alike(place), group.pictures[place], place

        for _, members in groupby(sorted(range(len(group.prompts)), key=order), key=alike):
            places = list(members)
            for start in range(0, len(places), self.batch_size):
                yield places[start : start + self.batch_size]

    def _whole_prompts(self, items: Sequence[Item], method: Method, report: Any) -> list[Reply]:
        """Answers by the processor and `generate`, for every family and any pictures."""
        model, processor = self.loaded.model, self.loaded.processor
        if any(item.video for item in items) and getattr(processor, "video_processor", None) is None:
            raise UnsupportedInputError(
                f"{self.loaded.name} takes pictures and no clips; leave tasks on clips out, or use a model such as "
                f"{SHIPPED_VIDEO}."
            )
        replies: dict[int, Reply] = {}

        def kind(place: int) -> tuple[int, int]:
            """The answer's limit, and a clip's frames: a batch has clips of one length."""
            item = items[place]
            return item.new_tokens, len(item.media) if item.video else 0

        for (limit, _), members in groupby(sorted(range(len(items)), key=kind), key=kind):
            alike = list(members)
            for start in range(0, len(alike), self.batch_size):
                batch = alike[start : start + self.batch_size]
                shown = [self._shown(items[place], method) for place in batch]
                inputs, _ = apply_batch(
                    processor, [_conversation(items[place], one) for place, one in zip(batch, shown, strict=True)]
                )
                check_columns(model.config, inputs)
                check_room(model, inputs[MASK].sum(dim=1).tolist(), [items[place].question for place in batch])
                for one, ids in zip(shown, inputs[IDS], strict=True):
                    check_shown(model.config, one, [ids])
                inputs = inputs.to(self.loaded.device, dtype=model.dtype)
                tokens = model.generate(**inputs, **greedy_settings(limit))
                new = tokens[:, inputs[IDS].shape[1] :]
                texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
                replies.update({place: reply_of(report, row, texts[row]) for row, place in enumerate(batch)})
        return [replies[place] for place in range(len(items))]

    def _shown(self, item: Item, method: Method) -> Shown:
        """An item's pictures, or its clip, as the method shows them."""
        pictures = [opened() for opened in item.media]
        if not item.video:
            return self._shower.show(method, pictures)
        return self._shower.show(method, [clip_of_frames(pictures, FPS)])


def _key(item: Item) -> tuple[str, str, int]:
    return item.picture, item.question, item.new_tokens


def _conversation(item: Item, shown: Shown) -> list[dict[str, Any]]:
    kind = "video" if item.video else "image"
    pictures = [{"type": kind, kind: medium} for medium in shown.pictures]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": item.question}]}]


def _as_tuple(reply: Reply) -> AnswerTuple:
    return reply.text, reply.visual_tokens, round(reply.layer_mean, 4), reply.dropped_after
