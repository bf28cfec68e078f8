"""One loaded model that answers scenes, group by group, under any condition."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import torch
from PIL import Image
from torch import Tensor

from todre.evaluate.batch_answers import Prepared, Reply, answer, can_share, encode, new_tokens, prepare
from todre.evaluate.conditions import Condition
from todre.evaluate.probes import first_layers
from todre.evaluate.wide_products import wide_products
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.hf.model_parts import decoder_depth
from todre.loading.model import Loaded, load
from todre.methods.base import Method, NoPruning
from todre.processing.downsampling import Shower, check_shown
from todre.pruning import prune
from todre.runtime.selection import signals_of
from todre.scenes import SPLITS, make_scene, score

GREY = (128, 128, 128)


@dataclass(frozen=True)
class Settings(Checked):
    """Questions and model of a run, the same for all its conditions.

    Args:
        model: folder or hub id; None for the model that ships.
        split: split of `todre.scenes`.
        size: side of the square pictures in pixels.
        group_size: pictures answered together; group g holds scenes g·group_size, g·group_size + 1, …
        batch_size: most rows of one forward. It changes no answer.
        device, dtype: as `todre.loading.model.load` takes them.
    """

    model: str | None = None
    split: Annotated[str, OneOf(SPLITS)] = "test"
    size: Count = 192
    group_size: Count = 8
    batch_size: Count = 36
    device: str = "cpu"
    dtype: str = "float32"


@dataclass(frozen=True)
class Record:
    """One answered question.

    Attributes:
        picture: the scene's seed.
        task, question, answer: the question, its task, and its true answer.
        prediction, score: the model's answer, and its mark from 0 to 1.
        visual_tokens: visual tokens that entered the decoder.
        dropped_after: count of layers run when all visual tokens were dropped; None if they never were.
        ratios: layer to the ratios of ToDRE's eq. 7 (text to visual, visual to text), where measured.
    """

    picture: int
    task: str
    question: str
    answer: str
    prediction: str
    score: float
    visual_tokens: int
    dropped_after: int | None = None
    ratios: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)


class Session:
    """A model in memory that answers groups of scenes.

    A group's pictures are rendered and encoded once for all conditions that are answered on the group in a row.
    """

    def __init__(self, settings: Settings, loaded: Loaded | None = None) -> None:
        self.settings = settings
        self.loaded = loaded or load(settings.model, device=settings.device, dtype=settings.dtype)
        self._shower = Shower(self.loaded.processor, self.loaded.model.config)
        self._group: tuple[int, str, Method | None] | None = None
        self._pictures: list[Prepared] = []
        self._features: dict[Hashable, list[Tensor]] = {}

    def answer_group(self, group: int, condition: Condition) -> tuple[list[Record], float]:
        """Records of every question about a group's pictures, and the processor seconds."""
        started = time.process_time()
        method = condition.method_for(group)
        pictures = self._prepared(group, condition.picture, method)
        method = NoPruning() if method.in_pixels else method
        replies: dict[tuple[int, int], Reply] = {}
        with torch.inference_mode(), wide_products(), first_layers(self.loaded.model, condition.first_layers):
            share = can_share(method, decoder_depth(self.loaded.model))
            with prune(self.loaded.model, method) as report:
                features = self._encoded((signals_of(method), method.tower()))
                for places in self._batches():
                    prompts = [pictures[i].prompts[j] for i, j in places]
                    shown = [features[i] for i, _ in places]
                    limit = max(new_tokens(pictures[i].questions[j]) for i, j in places)
                    answers = answer(self.loaded, report, prompts, shown, limit, share)
                    replies.update(zip(places, answers, strict=True))
        return self._records(group, replies), time.process_time() - started

    def _prepared(self, group: int, kind: str, method: Method) -> list[Prepared]:
        key = group, kind, method if method.in_pixels else None
        if self._group != key:
            self._pictures, self._features = [], {}
            for seed in self._seeds(group):
                scene = make_scene(seed, self.settings.split, self.settings.size)
                image = scene.image if kind == "true" else Image.new("RGB", scene.size, GREY)
                shown = self._shower.show(method, [image])
                prepared = prepare(self.loaded, shown.pictures[0], scene.questions)
                check_shown(self.loaded.model.config, shown, prepared.prompts)
                if kind == "grey" and self._pictures:  # all alike: encoded, and run, once
                    prepared = replace(prepared, pixels=self._pictures[0].pixels)
                self._pictures.append(prepared)
            self._group = key
        return self._pictures

    def _seeds(self, group: int) -> range:
        return range(group * self.settings.group_size, (group + 1) * self.settings.group_size)

    def _encoded(self, key: Hashable) -> list[Tensor]:
        """Visual tokens of each picture, encoded once per `key`; call it inside `prune`."""
        if key not in self._features:
            distinct = {id(picture.pixels): picture.pixels for picture in self._pictures}
            encoded = {key: encode(self.loaded.model, pixels) for key, pixels in distinct.items()}
            self._features[key] = [encoded[id(picture.pixels)] for picture in self._pictures]
        return self._features[key]

    def _batches(self) -> Iterator[Sequence[tuple[int, int]]]:
        """Batches of (picture, question) indices, short answers apart from long answers."""
        places = [(i, j) for i, picture in enumerate(self._pictures) for j in range(len(picture.questions))]
        limits = {place: new_tokens(self._pictures[place[0]].questions[place[1]]) for place in places}
        for limit in sorted(set(limits.values())):
            alike = [place for place in places if limits[place] == limit]
            for start in range(0, len(alike), self.settings.batch_size):
                yield alike[start : start + self.settings.batch_size]

    def _records(self, group: int, replies: dict[tuple[int, int], Reply]) -> list[Record]:
        records = []
        for (i, j), reply in sorted(replies.items()):
            question = self._pictures[i].questions[j]
            ratios = {str(layer): (pair.text_to_visual, pair.visual_to_text) for layer, pair in reply.ratios.items()}
            records.append(
                Record(
                    picture=self._seeds(group)[i],
                    task=question.task,
                    question=question.text,
                    answer=question.answer,
                    prediction=reply.text,
                    score=round(score(question, reply.text), 6),
                    visual_tokens=reply.visual_tokens,
                    dropped_after=reply.dropped_after,
                    ratios=ratios,
                )
            )
        return records
