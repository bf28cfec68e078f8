"""MME on scenes: two questions about one fact, one answered yes and one no.

"MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models" (Fu et al., 2023, arXiv 2306.13394),
section 2.2. The categories are existence and position, because scenes have yes-or-no questions for these.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.pope import negatives, pairs_in, presence
from todre.evaluate.tasks.scenes import LIMIT, PREFIX, first_items, picture_name, scene_image, scenes
from todre.fields import Checked
from todre.fields.kinds import Count
from todre.scenes import Scene
from todre.scenes.questions import RELATION_MARGIN, holds, unique_pairs
from todre.scenes.vocabulary import DIRECTIONS

_FEW_TOKENS = 4


@dataclass(frozen=True)
class ScenesMme(Checked):
    """Pairs of questions on existence and position, scored (accuracy + accuracy+) / 2.

    Args:
        size: side of the square pictures in pixels.
    """

    size: Count = 192
    name: str = PREFIX + "mme"
    metric: str = "mme"

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions, in whole pairs; an odd limit gives one question less."""
        count = LIMIT if limit is None else max(2, limit)
        return first_items(scenes(seed, self.size), count - count % 2, self._about)

    def _about(self, scene: Scene) -> list[Item]:
        return self._existence(scene) + self._position(scene)

    def _existence(self, scene: Scene) -> list[Item]:
        rng = np.random.default_rng([scene.seed, self.size, 306])
        present = pairs_in(scene)
        if not present:
            return []
        there = present[int(rng.integers(len(present)))]
        (missing,) = negatives(present, "random", 1, rng)
        return self._pair(scene, "existence", presence(there), presence(missing))

    def _position(self, scene: Scene) -> list[Item]:
        """The pair on position: is a left of b, and is b left of a."""
        rng = np.random.default_rng([scene.seed, self.size, 307])
        direction = DIRECTIONS[int(rng.integers(len(DIRECTIONS)))]
        axis = "x" if direction in ("left of", "right of") else "y"
        unique = unique_pairs(scene.objects)
        fitting = [
            (a, b)
            for a in unique
            for b in unique
            if abs(getattr(a, axis) - getattr(b, axis)) >= RELATION_MARGIN and holds(direction, a, b)
        ]
        if not fitting:
            return []
        a, b = fitting[int(rng.integers(len(fitting)))]
        return self._pair(
            scene,
            "position",
            f"Is the {a.name} {direction} the {b.name}?",
            f"Is the {b.name} {direction} the {a.name}?",
        )

    def _pair(self, scene: Scene, category: str, yes: str, no: str) -> list[Item]:
        return [
            Item(
                task=self.name,
                id=f"{scene.seed}-{category}-{answer}",
                picture=picture_name(scene.seed, self.size),
                media=(functools.partial(scene_image, scene.seed, self.size),),
                question=text,
                references=(answer,),
                metric=self.metric,
                kind=category,
                pair=str(scene.seed),
                new_tokens=_FEW_TOKENS,
            )
            for text, answer in ((yes, "yes"), (no, "no"))
        ]
