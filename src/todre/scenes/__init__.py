"""A synthetic world: pictures of shapes, digits and words, with questions.

Any number of scenes can be made; they are deterministic by seed and lie in three disjoint splits. `make_scene` renders
one, `questions` walks through a split and `score` marks an answer; `make_set` renders two or three that are asked about
together, `make_clip` one that moves. Tasks follow POPE (presence), VQA (colour, shape, size, count), GQA (relation,
quadrant), OCR benchmarks (digit, word) and captioning. Nothing here imports torch; models belong to `todre.tiny`.
"""

from __future__ import annotations

from todre.scenes.clip import SceneClip, make_clip, write_mp4
from todre.scenes.objects import Question, SceneObject
from todre.scenes.photographs import PHOTOGRAPHS, photograph, photograph_path
from todre.scenes.questions import TASKS
from todre.scenes.scene import SPLITS, Scene, ask, make_scene, questions
from todre.scenes.scoring import score
from todre.scenes.several import SceneSet, make_set

__all__ = [
    "PHOTOGRAPHS",
    "SPLITS",
    "TASKS",
    "Question",
    "Scene",
    "SceneClip",
    "SceneObject",
    "SceneSet",
    "ask",
    "make_clip",
    "make_scene",
    "make_set",
    "photograph",
    "photograph_path",
    "questions",
    "score",
    "write_mp4",
]
