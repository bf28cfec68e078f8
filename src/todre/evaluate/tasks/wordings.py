"""Scene tasks in wordings that no training has used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.scenes import LIMIT, SPLIT, SceneTask, first_items, scenes
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.scenes import WORDED, Question, Scene, as_sentence, reword

WORDINGS = "wordings-"
_SENTENCE = "sentence"
_SENTENCE_TOKENS = 96
_TAG = 0x3D


@dataclass(frozen=True)
class WordingTask(Checked):
    """One kind of question about scenes, in held-out wordings.

    There is at most one for each scene. Pictures and answers are those of the scene task; "sentence" asks for the
    caption as a sentence.

    Args:
        kind: name in `todre.scenes.WORDED`.
        size: side of the square pictures in pixels.
    """

    kind: Annotated[str, OneOf(WORDED)]
    size: Count = 192

    @property
    def name(self) -> str:
        """The task's name in results, such as `wordings-colour`."""
        return WORDINGS + self.kind

    @property
    def metric(self) -> str:
        """The metric of all items: `pairs-f1` for captions and sentences, else `exact`."""
        return self._stock.metric

    @property
    def _stock(self) -> SceneTask:
        return SceneTask("caption" if self.kind == _SENTENCE else self.kind, self.size)

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's scenes; scenes without any are skipped."""
        return first_items(scenes(seed, self.size), LIMIT if limit is None else limit, self._about)

    def _about(self, scene: Scene) -> Sequence[Item]:
        asked = [question for question in scene.questions if question.task == self._stock.kind]
        return [self._item(item, scene, asked[0]) for item in self._stock.about(scene)]

    def _item(self, item: Item, scene: Scene, question: Question) -> Item:
        """The scene task's item in other words."""
        sentence = self.kind == _SENTENCE
        rng = np.random.default_rng([scene.seed, self.size, WORDED.index(self.kind), _TAG])
        said = reword(as_sentence(question) if sentence else question, rng, SPLIT)
        tokens = _SENTENCE_TOKENS if sentence else item.new_tokens
        return replace(item, task=self.name, question=said.text, references=(said.answer,), new_tokens=tokens)
