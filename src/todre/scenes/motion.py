"""Questions about a moving scene; an event has several kinds of questions.

No single frame answers such a question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from todre.scenes.clip import ask_clip
from todre.scenes.objects import Question, SceneObject
from todre.scenes.questions import unique_pairs
from todre.scenes.vocabulary import COLOURS, SHAPES, YES_NO

CLIP_TASKS: dict[str, str] = {
    "moves": "moves",
    "mover": "moves",
    "moving": "moves",
    "appears": "appears",
    "changes": "changes",
}
"""Kind of question → the event that such questions ask about."""


def ask_motion(
    rng: np.random.Generator, objects: Sequence[Sequence[SceneObject]], event: str, tasks: Sequence[str]
) -> list[Question]:
    """One question for each entry of `tasks`, which may repeat.

    Entries that ask about another event are left out.

    Args:
        rng: chooses what a question asks about.
        objects: for each frame, everything drawn in it, the actor last.
        event: what the actor does.
        tasks: kinds of questions, from `CLIP_TASKS`.
    """
    drawn = (_ask(rng, objects, event, task) for task in tasks if CLIP_TASKS[task] == event)
    return [question for question in drawn if question is not None]


def _ask(rng: np.random.Generator, objects: Sequence[Sequence[SceneObject]], event: str, task: str) -> Question | None:
    actor = objects[-1][-1]
    if task == "mover":
        pairs = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
        return Question("mover", "What moves?", actor.name, pairs)
    if task != "moving":
        return ask_clip(objects, event)[0]
    truthful = rng.random() < 0.5
    still = [thing for thing in unique_pairs(objects[-1]) if thing is not actor]
    if not truthful and not still:
        return None
    thing = actor if truthful else still[int(rng.integers(len(still)))]
    return Question("moving", f"Does the {thing.name} move?", "yes" if truthful else "no", YES_NO)
