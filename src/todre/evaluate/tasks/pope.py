"""POPE on scenes: presence questions with random, popular, adversarial negatives.

"Evaluating Object Hallucination in Large Vision-Language Models" (Li et al., 2023, arXiv 2305.10355), section 4.1:
each picture has questions about a few objects that are there and, for each strategy, as many objects that are not. The
absent objects are drawn at random, are the most frequent of the data set, or occur most often together with the objects
in the picture. An object here is a colour and a shape; frequencies are counted over training scenes.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from todre.evaluate.metrics.totals import STRATEGIES
from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.scenes import LIMIT, PREFIX, first_items, picture_name, scene_image, scenes
from todre.fields import Checked
from todre.fields.kinds import Count
from todre.scenes import Scene
from todre.scenes.questions import shapes_of
from todre.scenes.scene import scene_objects
from todre.scenes.vocabulary import COLOURS, SHAPES, article

Pair = tuple[str, str]
_ASKED = 3
"""Number of "yes" and of "no" questions for each picture and strategy, as in POPE."""
_COUNTED = 400
_FEW_TOKENS = 4


@dataclass(frozen=True)
class ScenesPope(Checked):
    """Presence questions under three strategies, scored by F1 averaged over them.

    Args:
        size: side of the square pictures in pixels.
    """

    size: Count = 192
    name: str = PREFIX + "pope"
    metric: str = "pope"

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions by picture, then strategy, with yes and no in turn."""
        return first_items(scenes(seed, self.size), LIMIT if limit is None else limit, self._about)

    def _about(self, scene: Scene) -> list[Item]:
        rng = np.random.default_rng([scene.seed, self.size, 305])
        present = pairs_in(scene)
        there = [present[place] for place in rng.permutation(len(present))[:_ASKED]]
        items = []
        for strategy in STRATEGIES:
            missing = negatives(present, strategy, len(there), rng)
            for number, (yes, no) in enumerate(zip(there, missing, strict=True)):
                items.append(self._item(scene, strategy, f"{number}-yes", yes, "yes"))
                items.append(self._item(scene, strategy, f"{number}-no", no, "no"))
        return items

    def _item(self, scene: Scene, strategy: str, part: str, pair: Pair, answer: str) -> Item:
        return Item(
            task=self.name,
            id=f"{scene.seed}-{strategy}-{part}",
            picture=picture_name(scene.seed, self.size),
            media=(functools.partial(scene_image, scene.seed, self.size),),
            question=presence(pair),
            references=(answer,),
            metric=self.metric,
            kind=strategy,
            new_tokens=_FEW_TOKENS,
        )


def presence(pair: Pair) -> str:
    """The question whether the picture holds a shape of a colour."""
    return f"Is there {article(pair[0])} {pair[0]} {pair[1]} in the picture?"


def pairs_in(scene: Scene) -> list[Pair]:
    """The pairs of colour and shape in a scene, each once, sorted."""
    return sorted({(thing.colour, thing.shape) for thing in shapes_of(scene.objects)})


def negatives(present: Sequence[Pair], strategy: str, count: int, rng: np.random.Generator) -> list[Pair]:
    """`count` pairs that are not in the picture, by one of POPE's strategies.

    Args:
        present: pairs that are in the picture.
        strategy: `random`; `popular`, the most frequent pairs; `adversarial`, the pairs that occur most often together
            with `present`, summed over `present`.
        count: number of pairs.
        rng: generator of the random strategy.
    """
    absent = [pair for pair in every_pair() if pair not in present]
    if strategy == "random":
        return [absent[place] for place in rng.permutation(len(absent))[:count]]
    single, together = census()
    if strategy == "popular":
        return sorted(absent, key=lambda pair: -single[pair])[:count]
    return sorted(absent, key=lambda pair: -sum(together[each, pair] for each in present))[:count]


def every_pair() -> list[Pair]:
    """All colours with all shapes, in the vocabulary's order."""
    return [(colour, shape) for colour in COLOURS for shape in SHAPES]


@functools.cache
def census() -> tuple[Counter[Pair], Counter[tuple[Pair, Pair]]]:
    """Numbers of training scenes with each pair, and with any two pairs together."""
    single: Counter[Pair] = Counter()
    together: Counter[tuple[Pair, Pair]] = Counter()
    for seed in range(_COUNTED):
        pairs = {(thing.colour, thing.shape) for thing in shapes_of(scene_objects(seed, "train"))}
        single.update(pairs)
        together.update((a, b) for a in pairs for b in pairs if a != b)
    return single, together
