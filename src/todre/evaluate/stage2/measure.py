"""Measurements of one part on one group of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.group_answers import Asker
from todre.evaluate.stage2.answers import Asked
from todre.evaluate.stage2.pictures import Shown, alike, asked, check_model, merged, shown_pictures
from todre.evaluate.stage2.plan import WHOLE, Part
from todre.evaluate.stage2.working import Done
from todre.evaluate.tasks import Item
from todre.loading.model import Loaded

Task = tuple[int, Part]
"""Number of a group, and a part."""


class Measurer:
    """A model in memory that measures parts, group by group.

    Args:
        loaded: model and processor.
        groups: the questions of each group.
        rows: most rows of one forward in the real runtime; it changes no answer.
    """

    def __init__(self, loaded: Loaded, groups: Sequence[Sequence[Item]], rows: int) -> None:
        check_model(loaded.model)
        self.loaded, self.groups = loaded, groups
        self._asker = Asker(loaded, groups, rows)
        self._shown: tuple[tuple[int, bool], list[Shown]] | None = None

    def measure(self, task: Task) -> Done:
        """One part on one group."""
        number, part = task
        started = time.process_time()
        records = self._layered(number, part) if part.layered else self._by_runtime(number, part)
        return Done(number, part.name, part.digest, round(time.process_time() - started, 3), records)

    def _layered(self, number: int, part: Part) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        keep = {change.layer - 1 for change in part.changes if change.kind == "skip"}
        for pictures in alike(self._pictures(number, part.grey), len(self.groups[number])):
            one = asked(self.loaded.model, pictures, part.method, keep)
            said = {WHOLE: self._texts(one.whole)}
            said |= {change.name: self._texts(one.changed(change)) for change in part.changes}
            places = [place for picture in pictures for place in picture.places]
            for question, place in enumerate(places):
                found[place] = self._record(one, question, {name: texts[question] for name, texts in said.items()})
        return [found[place] for place in range(len(found))]

    def _record(self, one: Asked, question: int, said: dict[str, str]) -> dict[str, Any]:
        counts = {"visual": int(one.prefixes.visual.sum()), "text": int((one.columns.owner == question).sum())}
        counts["unseeing"] = int(one.watch.unseeing[question])
        return {"said": said, "tokens": counts, "attention": one.watch.facts(question)}

    def _by_runtime(self, number: int, part: Part) -> list[dict[str, Any]]:
        replies, _ = self._asker.answer(number, Condition(part.name, part.method))
        return [
            {"said": {WHOLE: text}, "tokens": {"visual": visual}, "layer_mean": mean, "dropped_after": dropped}
            for text, visual, mean, dropped in replies
        ]

    def _pictures(self, number: int, grey: bool) -> list[Shown]:
        if self._shown is None or self._shown[0] != (number, grey):
            self._shown = (number, grey), merged(shown_pictures(self.loaded, self.groups[number], grey))
        return self._shown[1]

    def _texts(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        texts = self.loaded.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]


def groups_of(config: EvalConfig) -> list[list[Item]]:
    """The questions of each group of pictures."""
    items = config.items()
    return [[items[place] for place in places] for places in grouped(items, config.group_size)]


def measuring(loaded: Loaded | None, single: bool, config: EvalConfig) -> Callable[[Task], Done]:
    """A worker that measures one task, with the model in memory.

    Args:
        loaded: the model; None loads it.
        single: keep this process on one thread.
        config: questions and model.
    """
    import torch

    if single:
        torch.set_num_threads(1)
    return Measurer(loaded or config.load(), groups_of(config), config.batch_size).measure
